"""How the registry words its errors: ``{"message", "code", "request_id"}``.

The published client prints ``message`` as it is and crashes without one, so core's own errors under the
registry's paths wear this body too.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from flask import Response, g, request

from core.errors import (
    BadRequest,
    Conflict,
    NotFound,
    PulsarError,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from core.responses import json_response
from registry.html import page

__all__ = [
    "LISTED_OBJECTS",
    "OverQuota",
    "SignupDisabled",
    "TagMoved",
    "WrongObjects",
    "format_error",
    "no_such_package",
]

LISTED_OBJECTS: Final = 100  # digests that an error lists; who has more wrong knows what to do by then


class SignupDisabled(PulsarError):
    """Signup is disabled."""

    status, code = HTTPStatus.NOT_IMPLEMENTED, "signup_disabled"


class WrongObjects(BadRequest):
    """Some objects are not as the request says."""

    code = "wrong_objects"

    def __init__(self, message: str, digests: Sequence[str], *, status: int = 400) -> None:
        super().__init__(message, details={"objects": list(digests[:LISTED_OBJECTS])})
        self.status = HTTPStatus(status)


class TagMoved(Conflict):
    """The tag does not name the revision that the caller expects."""

    def __init__(self, tag: str, found: str | None) -> None:
        words = f"names {found}" if found else "does not exist yet"
        super().__init__(f"The tag {tag!r} {words}: it is not where you expect it.", details={"hash": found})


class OverQuota(TooLarge):
    """The packages of the owner would need more bytes than they may."""

    code = "over_quota"

    def __init__(self, owner: str, used: int, wanted: int, allowed: int, *, is_told: bool) -> None:
        """:param is_told: whether the caller may hear numbers that tell of all packages of the owner."""
        if not is_told:
            super().__init__(f"The packages of {owner} have no room for this.")
            return
        super().__init__(
            f"This needs {wanted} bytes more; the packages of {owner} use {used} of the {allowed} allowed.",
            details={"quota": {"used": used, "wanted": wanted, "allowed": allowed}},
        )


def no_such_package(owner: str, name: str, *, anonymous: bool) -> NotFound:
    """The same words for a package that is not there and for one the caller may not see."""
    hint = " (do you need to log in?)" if anonymous else ""
    return NotFound(f"Package {owner}/{name} does not exist{hint}")


def format_error(error: PulsarError) -> Response:
    """The body of every error under the registry's paths; a page, if it is one that a browser asked for."""
    if (request.blueprint or "").endswith(".pages") and _wants_page():
        return page(
            "registry/error.html", error.status, message=error.message, request_id=g.get("request_id")
        )
    # The protocol knows no 415: a body that cannot be read is a bad request like any other.
    status = HTTPStatus.BAD_REQUEST if isinstance(error, UnsupportedMedia) else error.status
    message = error.message
    if message == Unauthenticated().message and "Authorization" in request.headers:
        message = "Token invalid."
    body: dict[str, Any] = {
        "message": message,
        "code": error.code,
        "request_id": g.get("request_id"),
    }
    if isinstance(error, WrongObjects | TagMoved | OverQuota):
        body |= error.details or {}
    return json_response(body, status)


def _wants_page() -> bool:
    """Whether the caller says that HTML is what it likes best; programs say nothing, or that all will do."""
    types = ("application/json", "text/html")
    return request.accept_mimetypes.best_match(types) == "text/html"
