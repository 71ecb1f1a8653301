"""Each line of the log is one JSON object."""

import json
import logging
import logging.config
import sys

from vote.logs import JSONFormatter, config


def entry(**kwargs):
    record = logging.makeLogRecord({"name": "vote", "levelname": "INFO", "levelno": logging.INFO, **kwargs})
    line = JSONFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_message_and_extra():
    got = entry(msg="hello %s", args=("you",), path="/", status=200)
    assert got.pop("time").endswith("+00:00")
    assert got == {"level": "info", "logger": "vote", "message": "hello you", "path": "/", "status": 200}


def test_exception():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        got = entry(msg="failed", exc_info=sys.exc_info())
    assert "ValueError: two\nlines" in got["exception"]


def test_gunicorn_accepts_the_configuration():
    logging.config.dictConfig(config("info"))
    assert logging.getLogger().level == logging.INFO
