"""The web front end."""

import logging
import time

from flask import Flask, Response, g, render_template, request, url_for
from werkzeug.exceptions import BadRequest

from vote.ballot import Ballot, BallotError
from vote.settings import RESET, Settings

log = logging.getLogger("vote")

_PROBES = frozenset({"/healthz", "/readyz"})


def create_app(settings: Settings, ballot: Ballot) -> Flask:
    """Return the app. It talks to Redis only to answer requests."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 4096

    def page(status: int = 200, problem: str = "") -> tuple[str, int]:
        counts: list[int] = []
        if not problem:
            counts = ballot.counts(settings.choices)
        return (
            render_template(
                "index.html",
                title=settings.title,
                version=settings.version,
                votes=list(zip(settings.choices, counts, strict=False)),
                total=sum(counts),
                reset=RESET,
                problem=problem,
            ),
            status,
        )

    @app.get("/")
    def index() -> tuple[str, int]:
        return page()

    @app.post("/")
    def vote() -> tuple[str, int, dict[str, str]]:
        choice = request.form.get("vote", "")
        if choice == RESET:
            ballot.reset(settings.choices)
        elif choice in settings.choices:
            ballot.vote(choice)
        else:
            expected = ", ".join([*settings.choices, RESET])
            raise BadRequest(f"There is no such vote. Votes are: {expected}.")
        # Browsers go on to GET /, so that reloading the page votes for nothing; others have the page in the answer.
        body, _ = page()
        return body, 303, {"Location": url_for("index")}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok", "version": settings.version}

    @app.get("/readyz")
    def readyz() -> tuple[dict[str, str], int]:
        try:
            ballot.ping()
        except BallotError as e:
            return {"status": "unavailable", "redis": str(e)}, 503
        return {"status": "ok", "version": settings.version}, 200

    @app.errorhandler(BallotError)
    def unavailable(e: BallotError) -> tuple[str, int, dict[str, str]]:
        log.error("Redis is unavailable", extra={"redis": f"{settings.redis_host}:{settings.redis_port}", "error": str(e)})
        body, status = page(503, "The votes cannot be reached right now. Please try again in a moment.")
        return body, status, {"Retry-After": "5"}

    @app.before_request
    def start_clock() -> None:
        g.began = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        log.log(
            logging.DEBUG if request.path in _PROBES else logging.INFO,
            "request",
            extra={
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "milliseconds": round((time.monotonic() - g.began) * 1000, 1),
                "remote": request.remote_addr,
            },
        )
        return response

    return app
