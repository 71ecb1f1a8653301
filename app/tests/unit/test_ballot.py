"""What the counters do while there is no Redis."""

import socket

import pytest

from vote.ballot import Ballot, BallotError


@pytest.fixture
def ballot() -> Ballot:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return Ballot("127.0.0.1", port, None)


@pytest.mark.parametrize(
    "use",
    [
        lambda b: b.ping(),
        lambda b: b.counts(["Cats"]),
        lambda b: b.vote("Cats"),
        lambda b: b.reset(["Cats"]),
    ],
    ids=["ping", "counts", "vote", "reset"],
)
def test_unreachable(ballot, use):
    with pytest.raises(BallotError):
        use(ballot)
