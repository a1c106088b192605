"""``/healthcheck`` and ``/robots.txt``, where the addresses of a registry have them."""

from flask import Response

from core.blueprint import Blueprint
from core.requests import public, returns

__all__ = ["bp"]

bp = Blueprint("site", __name__)


@bp.get("/healthcheck")
@public
@returns(200, None, "The text ``ok``.")
def healthcheck() -> Response:
    """Whether the site answers at all; ``GET /health`` says whether it can work."""
    return Response("ok", mimetype="text/plain")


@bp.get("/robots.txt")
@public
@returns(200, None, "Text.")
def robots() -> Response:
    """Nothing here is for search engines."""
    return Response("User-agent: *\nDisallow: /\n", mimetype="text/plain")
