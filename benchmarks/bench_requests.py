"""What a request costs: against Flask with one ORM read by key, and against a bare Flask view.

Everything runs in this process, called as a WSGI server would call it, so that the server's own time
hides nothing. The log lines are written, to /dev/null.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask, jsonify
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from werkzeug.test import EnvironBuilder

from core.app import Pulsar, create_app
from core.blueprint import Blueprint
from core.db import Base, db, engine_options, prepare_engine
from core.logs import Formatter
from core.requests import public
from core.users import services
from core.users.models import User, UserPermission
from harness import Result, compare, report

CALLS = 2000  # per round


def main() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder, log_to_nowhere():
        app, key = site(Path(folder))
        reference = reference_app(app.config["SQLALCHEMY_DATABASE_URI"])
        results = [
            compare(
                "GET /users/1, authenticated and permission-checked, against Flask and one ORM read by key",
                calls(reference, "/users/1"),
                calls(app, "/users/1", Authorization=f"Token {key}"),
                bar="at most 1.33 times its time, which is 0.75 of its rate",
            ),
            compare(
                "the whole middleware around a view that does nothing, against the same view in bare Flask",
                calls(reference, "/bare"),
                calls(app, "/health/bare"),
                bar="at most 1.4 where the reference includes a server; more here",
            ),
        ]
        with app.app_context():
            db.engine.dispose()
    return results


@contextlib.contextmanager
def log_to_nowhere() -> Iterator[None]:
    """Format and write every line, as a site does."""
    with open(os.devnull, "w") as nowhere:
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(Formatter("text"))
        logging.basicConfig(level="INFO", handlers=[handler])
        yield


def site(folder: Path) -> tuple[Pulsar, str]:
    """A site with one user who may see users, and that user's key."""
    (folder / "config.py").write_text("SECRET_KEY = 'of the benchmark'\n")
    app = create_app(folder)
    bp = Blueprint("bare", __name__)
    bp.get("/health/bare")(public(nothing))
    app.register_blueprint(bp)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        user = services.create_user("ann", "correct horse 1!", "ann@example.org")
        db.session.add(UserPermission(user_id=user.id, permission="users_view", granted=True))
        _, key = services.create_key(user, permanent=True)
        db.session.commit()
    return app, key


def nothing() -> Any:
    return jsonify(id=1, username="ann", enabled=True, user_class="User")


def reference_app(uri: str) -> Flask:
    """Flask, SQLAlchemy, and nothing else, on the same database with the same settings of SQLite."""
    app = Flask("reference")
    engine = create_engine(**engine_options(uri))
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
