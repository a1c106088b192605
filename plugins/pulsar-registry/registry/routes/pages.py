"""``/packages/<owner>/<name>``: a package as a page for people."""

from typing import Final

from flask import Response, render_template

from core.blueprint import Blueprint
from core.requests import public, returns
from registry.routes.callers import reader
from registry.services.pages import get_page

__all__ = ["bp"]

# Nothing is loaded and nothing runs; the style stands in the page itself.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

bp = Blueprint("pages", __name__, template_folder="../templates")


@bp.get("/packages/<owner>/<name>")
@public
@returns(200, None, "An HTML page.")
def show_package(owner: str, name: str) -> Response:
    """The package: its readme, what is in it and how to install it."""
    page = get_page(reader(), owner, name)
    text = render_template("registry/package.html", page=page, owner=owner, name=name)
    return Response(text, mimetype="text/html", headers={"Content-Security-Policy": POLICY})
