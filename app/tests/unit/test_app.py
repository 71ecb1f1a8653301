"""The pages and the endpoints."""

import re

import pytest

from vote.settings import Settings


def results(body: str) -> str:
    return re.search(r'<p id="results">([^<]*)</p>', body).group(1)


def test_page_starts_at_zero(client):
    response = client.get("/")
    assert response.status_code == 200
    assert results(response.text) == "Cats - 0 | Dogs - 0"
    assert "Azure Voting App" in response.text


def test_votes_are_counted(client):
    for vote in ("Cats", "Cats", "Dogs", "Cats"):
        client.post("/", data={"vote": vote})
    assert results(client.get("/").text) == "Cats - 3 | Dogs - 1"


def test_vote_answers_with_the_page_and_sends_browsers_to_it(client):
    response = client.post("/", data={"vote": "Dogs"})
    assert response.status_code == 303
    assert response.location == "/"
    assert results(response.text) == "Cats - 0 | Dogs - 1"


def test_reset(client):
    client.post("/", data={"vote": "Cats"})
    response = client.post("/", data={"vote": "reset"}, follow_redirects=True)
    assert results(response.text) == "Cats - 0 | Dogs - 0"


@pytest.mark.parametrize("form", [{}, {"vote": ""}, {"vote": "Birds"}, {"vote": "cats"}, {"choice": "Cats"}])
def test_unknown_vote_is_refused(client, ballot, form):
    response = client.post("/", data=form)
    assert response.status_code == 400
    assert "Votes are: Cats, Dogs, reset." in response.text
    assert ballot.votes == {}


def test_large_request_is_refused(client):
    assert client.post("/", data={"vote": "x" * 10_000}).status_code == 413


def test_page_shows_the_version(client):
    assert '<span id="version">1.2.3</span>' in client.get("/").text


def test_health_needs_no_redis(client, ballot):
    ballot.down = True
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json == {"status": "ok", "version": "1.2.3"}


def test_ready(client):
    assert client.get("/readyz").status_code == 200


def test_not_ready_without_redis(client, ballot):
    ballot.down = True
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json == {"status": "unavailable", "redis": "connection refused"}


def test_page_without_redis_says_so(client, ballot):
    ballot.down = True
    for response in (client.get("/"), client.post("/", data={"vote": "Cats"})):
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert "cannot be reached" in response.text
        assert "connection refused" not in response.text
    ballot.down = False
    assert results(client.get("/").text) == "Cats - 0 | Dogs - 0"


def test_answers_are_not_cached_and_load_nothing_from_elsewhere(client):
    response = client.get("/")
    assert response.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', response.text)


class TestOtherChoices:
    """Names come from whoever deploys, so they are shown as text."""

    @pytest.fixture
    def settings(self):
        return Settings(choices=("<b>Tea</b>", "Coffee"), title="Tea & Coffee")

    def test_names_are_escaped(self, client):
        response = client.post("/", data={"vote": "<b>Tea</b>"})
        assert "<b>" not in response.text
        assert results(response.text) == "&lt;b&gt;Tea&lt;/b&gt; - 1 | Coffee - 0"
        assert "<title>Tea &amp; Coffee</title>" in response.text
