"""An app with counters in memory in place of Redis."""

import pytest
from flask.testing import FlaskClient

from vote.app import create_app
from vote.ballot import BallotError
from vote.settings import Settings


class MemoryBallot:
    """Does what Ballot does, and refuses everything while it is down."""

    def __init__(self) -> None:
        self.votes: dict[str, int] = {}
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise BallotError("connection refused")

    def ping(self) -> None:
        self._check()

    def counts(self, choices: list[str]) -> list[int]:
        self._check()
        return [self.votes.get(c, 0) for c in choices]

    def vote(self, choice: str) -> None:
        self._check()
        self.votes[choice] = self.votes.get(choice, 0) + 1

    def reset(self, choices: list[str]) -> None:
        self._check()
        for c in choices:
            self.votes.pop(c, None)


@pytest.fixture
def ballot() -> MemoryBallot:
    return MemoryBallot()


@pytest.fixture
def settings() -> Settings:
    return Settings(version="1.2.3")


@pytest.fixture
def client(settings: Settings, ballot: MemoryBallot) -> FlaskClient:
    return create_app(settings, ballot).test_client()
