"""``/packages/...``: packages as pages for people. They work without JavaScript."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from flask import Response, url_for
from markupsafe import Markup

from core.blueprint import Blueprint
from core.requests import public, query, returns
from registry.html import add_filters, page
from registry.markdown import MAX_CHARACTERS, render
from registry.routes.callers import reader
from registry.serializers import PackageListQuery, PageQuery
from registry.services import packages, search
from registry.services.pages import get_node_page, get_package_page

__all__ = ["bp"]

FOUND = 50  # packages on one page

bp = Blueprint("pages", __name__, template_folder="../templates")
add_filters(bp)


@bp.get("/packages/")
@public
@query(PackageListQuery())
@returns(200, None, "An HTML page.")
def list_packages(args: dict[str, Any]) -> Response:
    """Packages that have a tag `latest`: those that `q` finds, or all."""
    question, number = args["q"], args["page"]
    found, total = search.search(reader(), question, page=number, limit=FOUND)
    return page(
        "registry/packages.html",
        title=f"Packages with {question}" if question.strip() else "Packages",
        packages=found,
        question=question,
        total=total,
        page=number,
        last=max(1, -(-total // FOUND)),
        address=lambda number: url_for(".list_packages", q=question or None, page=number),
    )


@bp.get("/packages/<owner>/")
@public
@returns(200, None, "An HTML page.")
def list_owned(owner: str) -> Response:
    """The packages of an owner."""
    found = [
        {"owner": owner, "name": name, "is_public": is_public, "is_team": is_team}
        for name, is_public, is_team in packages.list_packages(reader(), owner)
    ]
    return page(
        "registry/packages.html", title=f"Packages of {owner}", packages=found, total=len(found), address=None
    )


@bp.get("/packages/<owner>/<handle>")
@public
@query(PageQuery())
@returns(200, None, "An HTML page.")
def show_package(owner: str, handle: str, args: dict[str, Any]) -> Response:
    """A package: its readme, what is in it, how to install it, its tags, versions and pushes.

    `handle` is its name, or `name@revision` with a tag, a version, a top hash or the beginning of one.
    """
    name, at, reference = handle.partition("@")
    found = get_package_page(reader(), owner, name, reference if at else None, **args)
    readme = None
    if found.readme and len(found.readme) <= MAX_CHARACTERS:
        readme = _render(found.readme, _here(owner, handle))
    return page(
        "registry/package.html",
        found=found,
        owner=owner,
        handle=handle,
        name=name,
        chosen=bool(at),
        readme=readme,
        address=_addresses(owner, handle),
        page_address=lambda number: _here(owner, handle, page=number) + "#files",
        pushes_address=lambda number: _here(owner, handle, pushes=number) + "#pushes",
    )


@bp.get("/packages/<owner>/<handle>/<path:path>")
@public
@query(PageQuery(exclude=["pushes"]))
@returns(200, None, "An HTML page.")
def show_node(owner: str, handle: str, path: str, args: dict[str, Any]) -> Response:
    """A group, a file or a table of a package."""
    name, at, reference = handle.partition("@")
    path = path.strip("/")
    found = get_node_page(reader(), owner, name, reference if at else None, path, **args)
    return page(
        "registry/node.html",
        found=found,
        owner=owner,
        handle=handle,
        address=_addresses(owner, handle),
        # By the top hash: what is downloaded is what is shown, and there may be no tag latest.
        download=url_for(
            "registry.downloads.get_object", owner=owner, handle=f"{name}@{found.revision.digest}", path=path
        ),
        page_address=lambda number: url_for(".show_node", owner=owner, handle=handle, path=path, page=number),
    )


def _here(owner: str, handle: str, **query: Any) -> str:
    return url_for(".show_package", owner=owner, handle=handle, **query)


def _addresses(owner: str, handle: str) -> Callable[..., str]:
    """Gives the page of a node by its path, in one part or in several."""
    base = _here(owner, handle)

    def address(*parts: str) -> str:
        return "/".join([base, *map(_quote, filter(None, parts))])

    return address


def _quote(path: str) -> str:
    return quote(path, safe="/@:")


@lru_cache(64)
def _render(text: str, base: str) -> Markup:
    """The readme as HTML. Remembered: it takes far longer than all else on the page.

    :param base: address of the package's page.
    """
    return Markup(render(text, lambda path: f"{base}/{_quote(path)}"))  # noqa: S704 - it is safe
