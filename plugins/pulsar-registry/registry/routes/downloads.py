"""``/api/object/...``: a file or table of a package, by its path."""

from typing import Any, cast

from flask import Response, redirect

from core import storage
from core.blueprint import Blueprint
from core.requests import public, query, returns
from registry.routes.callers import reader
from registry.serializers import DownloadQuery
from registry.services.downloads import find_download

__all__ = ["bp"]

bp = Blueprint("downloads", __name__)


@bp.get("/api/object/<owner>/<handle>/<path:path>")
@public
@query(DownloadQuery())
@returns(302, None, "Where the bytes are; the link answers ranges, and needs no credentials.")
@returns(409, {"type": "object"}, "The table has several fragments; ask for one.")
def get_object(owner: str, handle: str, path: str, args: dict[str, Any]) -> Response:
    """The bytes of a file or table, by a link that is good for `STORAGE_LINK_LIFE` seconds.

    ``handle`` is the name of the package, or ``name@revision`` with a tag, a version, a top hash or the
    beginning of one. A table is Parquet, whatever it was built from.
    """
    found = find_download(reader(), owner, handle, path, args["fragment"])
    link = storage.links().download(found.digest, name=found.name, media_type=found.media_type)
    answer = cast(Response, redirect(link))
    answer.headers["Cache-Control"] = "no-store"  # a tag may move, and access may end
    return answer
