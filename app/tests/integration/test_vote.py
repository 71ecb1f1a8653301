"""The running image at APP_URL, with a real Redis behind it. Needs nothing but Python."""

import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

URL = os.environ["APP_URL"]
PATIENCE = 10  # seconds that the app may take to reach its Redis


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def results(self):
        found = re.search(r'<p id="results">([^<]*)</p>', self.body)
        assert found, f"status {self.status}, and no results in {self.body!r}"
        return found.group(1)


def call(path="/", form=None):
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    try:
        with urllib.request.urlopen(URL + path, data=data, timeout=10) as r:
            return Answer(r.status, r.headers, r.read().decode())
    except urllib.error.HTTPError as e:
        return Answer(e.code, e.headers, e.read().decode())


def vote(choice):
    return call(form={"vote": choice})


@pytest.fixture(scope="session")
def ready():
    """The app, once it reaches its Redis: the last answer is in the failure otherwise."""
    deadline = time.monotonic() + PATIENCE
    while (answer := call("/readyz")).status != 200:
        if time.monotonic() > deadline:
            pytest.fail(f"/readyz still answers {answer.status} after {PATIENCE} s: {answer.body}", pytrace=False)
        time.sleep(0.2)
    return answer


@pytest.fixture
def empty(ready):
    """Counters at 0."""
    assert vote("reset").results == "Cats - 0 | Dogs - 0"


def test_healthy():
    assert call("/healthz").status == 200


def test_ready(ready):
    assert json.loads(ready.body)["status"] == "ok"


def test_three_cats_and_a_dog(empty):
    for choice in ("Cats", "Dogs", "Cats", "Cats"):
        assert vote(choice).status == 200
    assert call().results == "Cats - 3 | Dogs - 1"


def test_reset(empty):
    vote("Dogs")
    vote("reset")
    assert call().results == "Cats - 0 | Dogs - 0"


def test_unknown_vote_changes_nothing(empty):
    assert vote("Birds").status == 400
    assert call().results == "Cats - 0 | Dogs - 0"


def test_no_vote_is_lost_among_many_voters(empty):
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda i: vote("Cats" if i % 2 else "Dogs").status, range(100)))
    assert set(statuses) == {200}
    assert call().results == "Cats - 50 | Dogs - 50"


def test_style_comes_from_the_app(ready):
    href = re.search(r'<link rel="stylesheet" href="([^"]+)"', call().body).group(1)
    style = call(href)
    assert style.status == 200
    assert style.headers["Content-Type"].startswith("text/css")
