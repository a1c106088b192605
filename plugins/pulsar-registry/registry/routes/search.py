"""``/api/search/``: packages by words."""

from dataclasses import asdict
from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.requests import public, query, returns
from core.responses import add_page_headers, json_response
from registry.routes.callers import reader
from registry.serializers import SearchQuery
from registry.services import search

__all__ = ["bp"]

bp = Blueprint("search", __name__)


@bp.get("/api/search/")
@public
@query(SearchQuery())
@returns(200, {"type": "object"}, "``packages``, best first.")
def search_packages(args: dict[str, Any]) -> Response:
    """Packages with a tag ``latest`` that the caller may read, by the words of ``q``.

    All words must be there, in the names of owner and package, in names in the package, or in its readme.
    ``owner/name`` finds that package, ``owner/`` all of an owner, nothing everything. ``X-Total-Count`` is
    how many were found, ``Link`` leads to the other pages.
    """
    question = args.pop("q")
    found, total = search.search(reader(), question, **args)
    packages = [asdict(package) for package in found]
    for package in packages:
        package["readme_preview"] = package.pop("readme")
    return add_page_headers(json_response({"packages": packages}), total=total, **args)
