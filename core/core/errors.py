"""Every error of the site, and the one place that answers them.

    PulsarError                 500  internal
    ├── BadRequest              400  bad_request
    │   ├── BadJSON             400  bad_json
    │   └── ValidationFailed    400  validation_failed
    ├── Unauthenticated         401  unauthenticated
    ├── Forbidden               403  forbidden
    │   ├── KeyScope            403  key_scope
    │   ├── AccountLocked       403  account_locked
    │   └── AccountDisabled     403  account_disabled
    ├── NotFound                404  not_found
    ├── MethodNotAllowed        405  method_not_allowed
    ├── Conflict                409  conflict
    ├── PreconditionFailed      412  precondition_failed
    ├── TooLarge                413  too_large
    ├── UnsupportedMedia        415  unsupported_media_type
    ├── RateLimited             429  rate_limited
    ├── Unavailable             503  unavailable
    └── NoSpace                 507  no_space

The docstring of a class is its default message; ``code`` is the word a program may rely on. Raise
them anywhere; a route never builds an error body by hand. A blueprint with a protocol of its own
gives an ``error_formatter``, and then core's errors under its paths wear that body too.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

from flask import Flask, Response, g, jsonify, request
from marshmallow import ValidationError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import HTTPException

from core.blueprint import Mount

__all__ = [
    "APIException",
    "AccountDisabled",
    "AccountLocked",
    "BadJSON",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "KeyScope",
    "MethodNotAllowed",
    "NoSpace",
    "NotFound",
    "PreconditionFailed",
    "PulsarError",
    "RateLimited",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnsupportedMedia",
    "ValidationFailed",
]

log = logging.getLogger(__name__)
MARIADB_CHECK: Final = 4025  # CONSTRAINT failed
MOST_DETAILS: Final = 20  # keys that an error names
PATH_LENGTH: Final = 200  # characters of such a key


class PulsarError(Exception):
    """Something went wrong with your request."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "internal"
    hidden: bool = False  # whether it tells of a route that strangers shall not know

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or self.code
        self.headers = dict(headers or {})
        self.details = dict(details) if details else None
        super().__init__(self.message)


class APIException(PulsarError):
    """Something is wrong with your request."""

    def __init__(self, message: str | None = None, status_code: int = 400, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.status = status_code
        if "code" not in kwargs:
            self.code = _CODES.get(status_code, "bad_request")


class BadRequest(PulsarError):
    """Something is wrong with your request."""

    status, code = HTTPStatus.BAD_REQUEST, "bad_request"


class BadJSON(BadRequest):
    """Unable to decode data. Is it valid JSON?"""

    code = "bad_json"


class ValidationFailed(BadRequest):
    """Invalid data."""

    code = "validation_failed"

    @classmethod
    def from_messages(cls, messages: Mapping[str, Any]) -> "ValidationFailed":
        """Turn marshmallow's tree of messages into one sentence and a flat map of paths.

        Of many messages the first few, so that a body of wrong items does not come back tenfold.
        """
        details = dict(islice(_flatten(messages), MOST_DETAILS))
        path, words = next(iter(details.items()))
        reason = " ".join(words).rstrip(".")
        return cls(f'Invalid data: {reason} (key "{path}")', details=details)


class Unauthenticated(PulsarError):
    """Invalid authorization."""

    status, code = HTTPStatus.UNAUTHORIZED, "unauthenticated"


class Forbidden(PulsarError):
    """You do not have permission to access this resource."""

    status, code = HTTPStatus.FORBIDDEN, "forbidden"


class KeyScope(Forbidden):
    """This APIKey does not have permission to access this resource."""

    code = "key_scope"


class AccountLocked(Forbidden):
    """Your account has been locked."""

    code = "account_locked"


class AccountDisabled(Forbidden):
    """Your account has been disabled."""

    code = "account_disabled"


class NotFound(PulsarError):
    """Resource does not exist."""

    status, code = HTTPStatus.NOT_FOUND, "not_found"

    @classmethod
    def of(cls, kind: str, pk: object) -> "NotFound":
        """The same words for what is missing and for what the caller may not see."""
        return cls(f"{kind} {pk} does not exist.")


class MethodNotAllowed(PulsarError):
    """Method not allowed for this resource."""

    status, code = HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"


class Conflict(PulsarError):
    """The request conflicts with the present state."""

    status, code = HTTPStatus.CONFLICT, "conflict"


class PreconditionFailed(PulsarError):
    """The object has changed since you read it."""

    status, code = HTTPStatus.PRECONDITION_FAILED, "precondition_failed"


class TooLarge(PulsarError):
    """The request body is too large."""

    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"


class UnsupportedMedia(PulsarError):
    """The encoding or type of the request body is not supported."""

    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"


class RateLimited(PulsarError):
    """Client rate limit exceeded."""

    status, code = HTTPStatus.TOO_MANY_REQUESTS, "rate_limited"


class Unavailable(PulsarError):
    """The site cannot answer at the moment. Try again later."""

    status, code = HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"


class NoSpace(PulsarError):
    """There is no space left to store this."""

    status, code = HTTPStatus.INSUFFICIENT_STORAGE, "no_space"


_CODES = {
    int(cls.status): cls.code
    for cls in (BadRequest, Unauthenticated, Forbidden, NotFound, Conflict, PreconditionFailed, TooLarge,
                UnsupportedMedia, RateLimited, Unavailable, NoSpace)
}  # fmt: skip


def _flatten(messages: Any, path: str = "") -> Any:
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            yield from _flatten(value, f"{path}.{key}" if path else str(key))
    else:
        yield path[:PATH_LENGTH] or "_schema", [str(word) for word in messages]


def from_exception(exc: Exception) -> PulsarError:
    """The error of ours that says what ``exc`` means to the caller. Never carries foreign text."""
    if isinstance(exc, PulsarError):
        return exc
    if isinstance(exc, ValidationError):
        return ValidationFailed.from_messages(exc.messages_dict)
    if isinstance(exc, HTTPException):
        return _from_http(exc)
    if isinstance(exc, IntegrityError | StaleDataError) or _breaks_a_check(exc):
        return Conflict()
    if isinstance(exc, DataError):
        return BadRequest("A value is outside the range that can be stored.")
    if isinstance(exc, OperationalError | PoolTimeout) or (
        isinstance(exc, DBAPIError) and exc.connection_invalidated
    ):
        log.exception("the database did not answer", exc_info=exc)
        return Unavailable()
    log.exception("unexpected error", exc_info=exc)
    return PulsarError()


def _breaks_a_check(exc: Exception) -> bool:
    """MariaDB's driver reports a violated CHECK as a problem of the server."""
    return isinstance(exc, OperationalError) and getattr(exc.orig, "args", ())[:1] == (MARIADB_CHECK,)


def _from_http(exc: HTTPException) -> PulsarError:
    status = exc.code or 500
    known = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge, 415: UnsupportedMedia}
    headers = {
        name: value
        for name, value in exc.get_headers(None)
        if name in ("Allow", "Retry-After", "Content-Range")
    }
    if cls := known.get(status):
        return cls(headers=headers)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Unavailable(headers=headers)
    if status >= 500:
        log.error("a view gave up", exc_info=exc)
        return PulsarError()
    error = APIException(
        exc.description if isinstance(exc.description, str) else None, status, headers=headers
    )
    error.code = _CODES.get(status, HTTPStatus(status).name.lower())
    return error


def envelope_error(error: PulsarError) -> Response:
    """Core's own error body (see ``docs/api/core.md``)."""
    response = jsonify(
        status="failed",
        response=error.message,
        error={"code": error.code, "details": error.details, "request_id": g.get("request_id")},
    )
    response.status_code = error.status
    return response


def error_response(exc: Exception) -> Response:
    """Answer ``exc`` in the words of whoever owns the path of the present request."""
    error = from_exception(exc)
    mount: Mount = g.mount
    unrouted = request.routing_exception is not None or g.error is not None
    telling = error.hidden or (unrouted and isinstance(error, NotFound))
    if telling and mount.envelope and not g.identity.authenticated:
        error = Unauthenticated()  # an unknown route must not be told from a hidden one
    try:
        response = (mount.error_formatter or envelope_error)(error)
    except Exception:
        log.exception("the error formatter of %s failed", mount.plugin)
        response = envelope_error(error)
    g.error = error
    response.headers.extend(error.headers)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = _challenge(mount)
    return response


def _challenge(mount: Mount) -> str:
    return 'Basic realm="pulsar"' if "basic" in mount.auth_schemes else "Token"


def init_app(app: Flask) -> None:
    """Send every exception of ``app`` through :func:`error_response`."""
    app.register_error_handler(Exception, error_response)
