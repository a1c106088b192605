"""Pages as answers: their style, their policy, and how numbers and times are written."""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup

from core.identity import current_identity

__all__ = ["add_filters", "page"]

STYLE: Final = Path(__file__).parent / "templates" / "registry" / "style.css"


@cache
def _style() -> Markup:
    return Markup(STYLE.read_text(encoding="utf-8"))  # noqa: S704 - our own file


@cache
def _policy() -> str:
    """Nothing is loaded and nothing runs; of styles, only ours. Forms go to this site."""
    digest = b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def page(template: str, status: int = 200, **values: Any) -> Response:
    """The page as an answer that no cache keeps: others may see other things at the same address."""
    text = render_template(
        template,
        style=_style(),
        username=current_identity().username,
        root=request.script_root,
        here=_here(),
        **values,
    )
    headers = {"Content-Security-Policy": _policy(), "Cache-Control": "no-store"}
    return Response(text, status, headers, mimetype="text/html")


def _here() -> str:
    """Where the caller is, as a path that may stand in an address: where to go after signing in."""
    asked = request.query_string.decode("ascii", "ignore")
    return f"{request.script_root}{quote(request.path, safe='/@:')}" + (f"?{asked}" if asked else "")


def add_filters(bp: Blueprint) -> None:
    """Let templates write bytes, times and values of tables."""
    bp.add_app_template_filter(_format_bytes, "bytes")
    bp.add_app_template_filter(_format_moment, "moment")
    bp.add_app_template_filter(_format_cell, "cell")


def _format_bytes(count: int) -> str:
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _format_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _format_cell(value: Any) -> str:
    return "" if value is None else str(value)
