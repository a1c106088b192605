"""``/api/metadata/...``: what is said of the nodes of a revision."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.requests import public, query, returns
from core.responses import add_page_headers, json_response
from registry.routes.callers import reader
from registry.serializers import MetadataQuery
from registry.services import metadata

__all__ = ["bp"]

bp = Blueprint("metadata", __name__)


@bp.get("/api/metadata/<owner>/<name>/<revision>")
@public
@query(MetadataQuery())
@returns(200, {"type": "object"}, "``hash``, and a page of ``nodes``, by path.")
def list_metadata(owner: str, name: str, revision: str, args: dict[str, Any]) -> Response:
    """What kind each node is, how large, and what its makers say of it, without downloading anything.

    A revision is a tag, a version, a top hash or the beginning of one. ``X-Total-Count`` is the number of
    nodes, ``Link`` leads to the other pages.
    """
    found, total = metadata.list_metadata(reader(), owner, name, revision, **args)
    return add_page_headers(json_response(found), total=total, **args)
