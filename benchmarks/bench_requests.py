"""What a request costs: against Flask with one ORM read by key, and against a bare Flask view.

Both apps are asked through gunicorn, started as ``flask serve`` starts it with one worker process, over one
connection that is kept. The CPU is that of the server; the time on the clock also holds the client's
part. Then both are called in this process, as a server would call them, so that the server's own time
hides nothing. Each app writes the log it writes by default: the site a line a request, to a file; the
reference none, for gunicorn's access log is off, which the site's replaces. The site counts requests
against its rate limits, which are too high here to refuse any.
"""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flask import Flask, jsonify
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from werkzeug.test import EnvironBuilder

from core.app import Pulsar, create_app
from core.blueprint import Blueprint
from core.cli.serve import answer_requests
from core.db import Base, db, engine_options, prepare_engine
from core.requests import public
from core.users import services
from core.users.models import User, UserPermission
from harness import GRACE, Measure, Result, compare, family, free_port, report

NEVER = (10**9, 60)  # requests and seconds of a limit that counts and does not refuse
CALLS = 2000  # per round
ROUNDS = 11  # through a server: /proc counts in hundredths of a second, and machines are never quiet
ANSWER = re.compile(rb"(?s).*?\r\nContent-Length: (\d+).*?\r\n\r\n")


def main() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder, log_to(Path(folder) / "site.log"):
        app, key = site(Path(folder))
        reference = reference_app(app)
        asked = {"Authorization": f"Token {key}"}
        with served(reference) as plain, served(app) as whole:
            results = [
                compare(
                    "GET /users/1 through gunicorn, authenticated and permission-checked,"
                    " against Flask and one ORM read by key",
                    requests(plain, "/users/1"),
                    requests(whole, "/users/1", **asked),
                    bar="at most 1.33 times its time, which is 0.75 of its rate",
                    rounds=ROUNDS,
                ),
                compare(
                    "the whole middleware through gunicorn around a view that does nothing,"
                    " against the same view in bare Flask",
                    requests(plain, "/bare"),
                    requests(whole, "/health/bare"),
                    bar="at most 1.4",
                    rounds=ROUNDS,
                ),
            ]
        results += [
            compare(
                "the first without a server",
                calls(reference, "/users/1"),
                calls(app, "/users/1", **asked),
                bar="none",
            ),
            compare(
                "the second without a server",
                calls(reference, "/bare"),
                calls(app, "/health/bare"),
                bar="none",
            ),
        ]
        with app.app_context():
            db.engine.dispose()
    return results


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Let what a site writes to standard error go to a file, line by line as there."""
    with path.open("w", buffering=1) as file, contextlib.redirect_stderr(file):
        yield


@dataclass(frozen=True)
class Server:
    """A web server that runs for a benchmark."""

    port: int
    pid: int

    def cpu(self) -> float:
        """CPU seconds of gunicorn and its one worker so far."""
        return sum(process.cpu for process in family(self.pid))


@contextlib.contextmanager
def served(app: Flask) -> Iterator[Server]:
    """Serve ``app`` in a child, with the options of ``flask serve``, and stop it afterwards."""
    port = free_port()
    child = get_context("fork").Process(target=answer_requests, args=(app, f"127.0.0.1:{port}"))
    child.start()
    assert child.pid is not None, "it was started"
    try:
        wait_for(port)
        yield Server(port, child.pid)
    finally:
        child.terminate()
        child.join(GRACE)
        child.kill()


def wait_for(port: int, seconds: float = 30) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def requests(server: Server, path: str, **headers: str) -> Callable[[], Measure]:
    """An action that asks for ``path`` many times over one connection and says what it cost the server."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {headers[name]}" for name in headers)]
    asked = "\r\n".join([*lines, "", ""]).encode()

    def run() -> Measure:
        wall, cpu = time.perf_counter(), server.cpu()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            for _ in range(CALLS):
                connection.sendall(asked)
                answer = receive(connection)
                assert answer.startswith(b"HTTP/1.1 200 "), answer
        return Measure(time.perf_counter() - wall, server.cpu() - cpu)

    return run


def receive(connection: socket.socket) -> bytes:
    """One answer that says its length."""
    answer = b""
    while not ((found := ANSWER.match(answer)) and len(answer) >= found.end() + int(found[1])):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"the server hung up after {answer!r}")
        answer += piece
    return answer


def site(folder: Path) -> tuple[Pulsar, str]:
    """A site with two users, and the key of the second, who may see users."""
    (folder / "config.py").write_text("SECRET_KEY = 'of the benchmark'\n")
    names = ("RATE_LIMIT_AUTH_SPECIFIC", "RATE_LIMIT_PER_USER", "RATE_LIMIT_UNAUTH")
    app = create_app(folder, WEB_PROCESSES=1, **dict.fromkeys(names, NEVER))
    bp = Blueprint("bare", __name__)
    bp.get("/health/bare")(public(nothing))
    app.register_blueprint(bp)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        services.create_user("ann", "correct horse 1!", "ann@example.org")
        user = services.create_user("bob", "correct horse 1!", "bob@example.org")
        db.session.add(UserPermission(user_id=user.id, permission="users_view", granted=True))
        _, key = services.create_key(user, permanent=True)
        db.session.commit()
        db.session.close()
        db.engine.dispose()  # a connection must not be shared with the servers
    return app, key


def nothing() -> Any:
    return jsonify(id=1, username="ann", enabled=True, user_class="User")


def reference_app(site: Flask) -> Flask:
    """Flask, SQLAlchemy, and nothing else, on the same database with the same settings of SQLite."""
    app = Flask("reference")
    app.config.update({name: site.config[name] for name in ("WEB_PROCESSES", "WEB_THREADS")})
    engine = create_engine(**engine_options(site.config["SQLALCHEMY_DATABASE_URI"]))
    prepare_engine(engine)
    app.get("/bare")(nothing)

    @app.get("/users/<int:number>")
    def get_user(number: int) -> Any:
        with Session(engine) as session:
            user = session.get_one(User, number)
            return jsonify(
                id=user.id, username=user.username, enabled=user.enabled, user_class=user.user_class.name
            )

    return app


def calls(app: Flask, path: str, **headers: str) -> Callable[[], None]:
    """An action that asks ``app`` for ``path`` many times."""
    environ = EnvironBuilder(path=path, headers=list(headers.items())).get_environ()
    statuses: list[str] = []

    def start(status: str, *_: Any) -> Any:
        statuses.append(status)

    def run() -> None:
        for _ in range(CALLS):
            body = app.wsgi_app(dict(environ), start)
            b"".join(body)
            body.close()  # type: ignore[attr-defined]
        assert set(statuses) == {"200 OK"}, set(statuses)
        statuses.clear()

    return run


if __name__ == "__main__":
    report(main, __doc__)
