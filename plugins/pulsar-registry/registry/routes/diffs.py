"""``/api/diff/...``: two revisions compared."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.requests import public, query, returns
from core.responses import add_page_headers, json_response
from registry.routes.callers import reader
from registry.serializers import DiffQuery
from registry.services import diffs

__all__ = ["bp"]

bp = Blueprint("diffs", __name__)


@bp.get("/api/diff/<owner>/<name>/<old>/<new>")
@public
@query(DiffQuery())
@returns(200, {"type": "object"}, "``from``, ``to``, ``summary``, ``bytes``, and a page of ``changes``.")
def get_diff(owner: str, name: str, old: str, new: str, args: dict[str, Any]) -> Response:
    """What was added, removed, moved and changed from one revision to another, by path.

    A revision is a tag, a version, a top hash or the beginning of one. ``X-Total-Count`` is the number of
    changes, ``Link`` leads to the other pages.
    """
    found, total = diffs.get_diff(reader(), owner, name, old, new, **args)
    return add_page_headers(json_response(found), total=total, **args)
