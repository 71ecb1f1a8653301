"""The environment that Microsoft's azure-vote defined, and what is refused."""

import socket

import pytest

from vote.settings import Settings, SettingsError


def test_defaults():
    s = Settings.from_env({})
    assert s.choices == ("Cats", "Dogs")
    assert s.title == "Azure Voting App"
    assert (s.redis_host, s.redis_port, s.redis_password) == ("localhost", 6379, None)


def test_everything_set():
    s = Settings.from_env(
        {
            "REDIS": "redis.example:6380",
            "REDIS_PWD": "secret",
            "VOTE1VALUE": "Tea",
            "VOTE2VALUE": "Coffee",
            "TITLE": "Drinks",
            "SHOWHOST": "false",
            "APP_VERSION": "1.2.3",
        }
    )
    assert s == Settings(("Tea", "Coffee"), "Drinks", "1.2.3", "redis.example", 6380, "secret")


def test_empty_is_unset():
    assert Settings.from_env({"REDIS": "", "REDIS_PWD": "", "VOTE1VALUE": "", "TITLE": ""}) == Settings()


@pytest.mark.parametrize("value", ["true", "True"])
def test_showhost_puts_the_host_in_the_title(value):
    assert Settings.from_env({"SHOWHOST": value, "TITLE": "Drinks"}).title == socket.gethostname()


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"VOTE1VALUE": "Dogs"}, "both 'Dogs'"),
        ({"VOTE2VALUE": "reset"}, "cannot be 'reset'"),
        ({"REDIS": "redis:"}, "port ''"),
        ({"REDIS": "redis:http"}, "port 'http'"),
        ({"REDIS": "redis:70000"}, "port '70000'"),
    ],
)
def test_refused(env, problem):
    with pytest.raises(SettingsError, match=problem):
        Settings.from_env(env)


def test_password_is_not_shown():
    assert "secret" not in repr(Settings.from_env({"REDIS_PWD": "secret"}))
