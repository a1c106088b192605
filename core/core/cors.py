"""Which pages of other sites may call from a browser, and read the answer.

Never with the cookies of the person in front of it: such a page sends an API key, or gets what everyone gets.
"""

import re
from typing import Final

from flask import Request, Response

from core.blueprint import Mount
from core.site import Site

__all__ = ["add_headers", "answer_preflight", "origins_for"]

ANY: Final = "*"
MAX_AGE: Final = "86400"  # s that a browser may remember what it was told; browsers have their own maximum
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
# What else of an answer the page may read, beside its body and type.
EXPOSED: Final = (
    "Content-Disposition, Content-Range, ETag, Link, Location, Retry-After, X-RateLimit-Limit,"
    " X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id, X-Total-Count"
)
NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: ?, ?[A-Za-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)


def origins_for(site: Site, mount: Mount, path: str) -> frozenset[str]:
    """Origins whose pages may call ``path``."""
    if mount.cors is None or (mount.cors_paths and not f"{path}/".startswith(mount.cors_paths)):
        return site.cors
    return mount.cors


def answer_preflight(request: Request, origins: frozenset[str]) -> Response | None:
    """The answer to a browser that asks whether it may ask; None if this is no such question.

    It is the same for every path, so that nobody learns from it which there are.
    """
    asked = request.headers
    if "Access-Control-Request-Method" not in asked or _allowed(request, origins) is None:
        return None
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = METHODS
    answer.headers["Access-Control-Max-Age"] = MAX_AGE
    wanted = asked.get("Access-Control-Request-Headers", "")
    if NAMES.fullmatch(wanted):
        answer.headers["Access-Control-Allow-Headers"] = wanted
    answer.vary.update(("Access-Control-Request-Method", "Access-Control-Request-Headers"))
    return answer


def add_headers(response: Response, request: Request, origins: frozenset[str]) -> None:
    """Let the page that asks read the answer, if its origin is one of ``origins``."""
    if ANY not in origins:
        response.vary.add("Origin")  # also of an answer to nobody's page, which a cache may keep
    if allowed := _allowed(request, origins):
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = EXPOSED


def _allowed(request: Request, origins: frozenset[str]) -> str | None:
    """What to say to the origin of the request; None if it may not."""
    if ANY in origins:
        return ANY
    origin = request.headers.get("Origin")
    return origin if origin in origins else None
