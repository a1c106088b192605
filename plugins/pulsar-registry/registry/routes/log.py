"""``/api/log/<owner>/<name>/``: every push of a package."""

from collections.abc import Iterator

from flask import Response, stream_with_context

from core.blueprint import Blueprint
from core.requests import public, returns
from registry.routes.callers import reader
from registry.routes.streams import iter_list, json_stream
from registry.services import history

__all__ = ["bp"]

bp = Blueprint("log", __name__)


@bp.get("/api/log/<owner>/<name>/")
@public
@returns(200, {"type": "object"}, "``logs``, oldest first.")
def get_log(owner: str, name: str) -> Response:
    """Every push, oldest first: hash and number of the revision, time, who pushed, its tags and versions now.

    And what the push said of itself (``message``, ``provenance``), and the hashes of this entry and of
    the one before (``entry``, ``previous``), from which anybody can see that none was changed or left out.
    """
    entries = iter_list(history.iter_log(reader(), owner, name))

    def make() -> Iterator[bytes]:
        yield b'{"logs":'
        yield from entries
        yield b"}"

    return json_stream(stream_with_context(make()))
