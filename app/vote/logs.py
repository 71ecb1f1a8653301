"""Logs for machines: one JSON object a line, on standard output."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

# What a LogRecord has of its own; anything else came in through extra.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """Writes a record with its time, level, logger, message, and what was given as extra."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {k: v for k, v in vars(record).items() if k not in _OWN}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def config(level: str) -> dict[str, Any]:
    """Return the configuration for logging.config.dictConfig, for the app and for gunicorn."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
        "root": {"level": level.upper(), "handlers": ["stdout"]},
        # The app logs requests itself; gunicorn's own handlers would write each line twice.
        "loggers": {
            "gunicorn.error": {"propagate": True, "handlers": [], "level": level.upper()},
            "gunicorn.access": {"propagate": False, "handlers": []},
        },
    }
