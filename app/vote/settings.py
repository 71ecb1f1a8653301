"""The app's settings, all of them from the environment."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

RESET = "reset"


class SettingsError(ValueError):
    """A setting that the app cannot run with."""


@dataclass(frozen=True)
class Settings:
    """What the app is told when it starts. An empty variable is an unset one."""

    choices: tuple[str, str] = ("Cats", "Dogs")
    """VOTE1VALUE and VOTE2VALUE: what can be voted for."""
    title: str = "Azure Voting App"
    """TITLE, or the host's name if SHOWHOST is "true"."""
    version: str = "unknown"
    """APP_VERSION: what runs here, from whoever deployed it."""
    redis_host: str = "localhost"
    """REDIS, as HOST or HOST:PORT."""
    redis_port: int = 6379
    redis_password: str | None = field(default=None, repr=False)
    """REDIS_PWD."""

    def __post_init__(self) -> None:
        first, second = self.choices
        if first == second:
            raise SettingsError(f"VOTE1VALUE and VOTE2VALUE are both {first!r}: they must differ")
        if RESET in self.choices:
            raise SettingsError(f"VOTE1VALUE and VOTE2VALUE cannot be {RESET!r}: that vote sets the counters to 0")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings from env. Raises SettingsError."""
        host, colon, port = (env.get("REDIS") or cls.redis_host).rpartition(":")
        if not colon:
            host, port = port, str(cls.redis_port)
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise SettingsError(f"REDIS has the port {port!r}: want HOST or HOST:PORT")
        title = env.get("TITLE") or cls.title
        if env.get("SHOWHOST", "").lower() == "true":
            title = socket.gethostname()
        return cls(
            choices=(env.get("VOTE1VALUE") or "Cats", env.get("VOTE2VALUE") or "Dogs"),
            title=title,
            version=env.get("APP_VERSION") or cls.version,
            redis_host=host,
            redis_port=int(port),
            redis_password=env.get("REDIS_PWD") or None,
        )
