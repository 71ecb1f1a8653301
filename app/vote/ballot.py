"""The counters, in Redis."""

from collections.abc import Sequence

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry


class BallotError(Exception):
    """Redis did not answer, or refused."""


class Ballot:
    """Counts votes in Redis: one key a choice.

    It connects when it is first used. A command is sent again when the connection breaks, so a vote whose answer was
    lost may count twice.
    """

    def __init__(self, host: str, port: int, password: str | None) -> None:
        def client(retry: Retry) -> redis.Redis:
            return redis.Redis(
                host=host,
                port=port,
                password=password,
                decode_responses=True,
                socket_connect_timeout=1,
                socket_timeout=2,
                retry=retry,
            )

        self._redis = client(Retry(ExponentialBackoff(base=0.05, cap=0.5), 3))
        # Who asks whether Redis is there wants the answer now.
        self._probe = client(Retry(NoBackoff(), 0))

    def ping(self) -> None:
        """Return if Redis answers. Raises BallotError."""
        try:
            self._probe.ping()
        except redis.RedisError as e:
            raise BallotError(str(e)) from e

    def counts(self, choices: Sequence[str]) -> list[int]:
        """Return how many votes each choice has. Raises BallotError."""
        try:
            return [int(n or 0) for n in self._redis.mget(choices)]
        except (redis.RedisError, ValueError) as e:
            raise BallotError(str(e)) from e

    def vote(self, choice: str) -> None:
        """Count one vote. INCR creates the counter and is atomic, whoever else votes. Raises BallotError."""
        try:
            self._redis.incr(choice)
        except redis.RedisError as e:
            raise BallotError(str(e)) from e

    def reset(self, choices: Sequence[str]) -> None:
        """Set all counters to 0 at once. Raises BallotError."""
        try:
            self._redis.delete(*choices)
        except redis.RedisError as e:
            raise BallotError(str(e)) from e
