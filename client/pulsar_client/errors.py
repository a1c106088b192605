"""Everything that can go wrong, as one tree.

    PulsarError
    ├── ConfigurationError         an option, a setting or a handle that cannot be meant (exit status 2)
    ├── NotConfirmed               a question was not answered as it had to be (of the command)
    ├── ManifestError              a contents tree that breaks the rules
    ├── BuildError                 an input that cannot become an entry
    │   ├── TableError             ... because of a line or a column of a table
    │   └── CheckFailed            ... because it breaks a rule of the build file
    ├── StoreError                 the local store cannot do what was asked
    │   ├── NotInstalled           no such package, revision, entry or blob here
    │   ├── BlobDamaged            the bytes of a blob no longer fit its digest
    │   └── NotEnoughSpace         the disk is too small for what is about to be written
    ├── ConnectionFailed           no answer from the site, also after retries
    ├── ProtocolError              an answer that is not what the protocol allows
    │   └── DigestMismatch         ... because the bytes are not those that were promised
    └── SiteError                  the site said no; the message is the site's own sentence
        ├── BadRequest             400, or another 4xx without a class of its own
        ├── Unauthenticated        401
        ├── Forbidden              403
        ├── NotFound               404
        ├── Conflict               409
        ├── TooLarge               413
        ├── RateLimited            429
        └── SiteFailure            5xx

``str(error)`` is one sentence for people. ``SiteError`` also has ``code`` (the word a program may rely on),
``status``, ``request_id`` (what an operator looks for in the log), and ``repeated``: an earlier attempt at
the same call got no answer, and may have been done.
"""

from collections.abc import Mapping
from typing import ClassVar

EXIT_FAILED = 1
EXIT_USAGE = 2
MAX_SENTENCE = 1000  # characters of what a site says that are shown


class PulsarError(Exception):
    """Something went wrong; the text says what."""

    exit_status: ClassVar[int] = EXIT_FAILED


class ConfigurationError(PulsarError):
    """An option, a setting or a handle cannot be meant."""

    exit_status = EXIT_USAGE


class NotConfirmed(PulsarError):
    """A question of the command was not answered as it had to be."""


class ManifestError(PulsarError):
    """A contents tree breaks the rules."""


class BuildError(PulsarError):
    """An input cannot become an entry."""


class TableError(BuildError):
    """A table cannot be read; the text names file, line and column as far as they are known."""

    def __init__(self, path: str, reason: str, *, line: int | None = None, column: str | None = None) -> None:
        """:param line: counted from 1, as an editor does; :param column: the name in the header."""
        place = path if line is None else f"{path}, line {line}"
        if column is not None:
            place += f", column {column!r}"
        super().__init__(f"{place}: {reason}")
        self.path, self.reason, self.line, self.column = path, reason, line, column


class CheckFailed(BuildError):
    """Inputs break rules of the build file; ``failures`` has a sentence for each."""

    def __init__(self, failures: list[str]) -> None:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(f"{failures[0]}{more}")
        self.failures = failures


class StoreError(PulsarError):
    """The local store cannot do what was asked."""


class NotInstalled(StoreError):
    """No such package, revision, entry or blob in the local store."""


class BlobDamaged(StoreError):
    """The bytes of a blob no longer fit its digest."""


class NotEnoughSpace(StoreError):
    """The disk is too small for what is about to be written."""


class ConnectionFailed(PulsarError):
    """The site gave no answer, also after retries."""


class ProtocolError(PulsarError):
    """The site's answer is not what the protocol allows."""


class DigestMismatch(ProtocolError):
    """The bytes that came are not those that were promised."""


class SiteError(PulsarError):
    """The site refused; the text is its own sentence."""

    statuses: ClassVar[tuple[int, ...]] = ()
    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str | None = None,
        request_id: str | None = None,
        repeated: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id, self.repeated = status, code, request_id, repeated


class BadRequest(SiteError):
    """The request was malformed or impossible."""

    statuses, codes = (400,), ("bad_request", "bad_json", "validation_failed")


class Unauthenticated(SiteError):
    """No key, or one that the site does not take."""

    statuses, codes = (401,), ("unauthenticated", "unauthorized")


class Forbidden(SiteError):
    """This user, or this key, may not do that."""

    statuses, codes = (403,), ("forbidden", "key_scope", "account_locked", "account_disabled")


class NotFound(SiteError):
    """There is no such thing, or none that this user may see."""

    statuses, codes = (404,), ("not_found",)


class Conflict(SiteError):
    """The request conflicts with the present state."""

    statuses, codes = (409, 412), ("conflict",)


class TooLarge(SiteError):
    """The request is larger than the site takes."""

    statuses, codes = (413,), ("too_large",)


class RateLimited(SiteError):
    """Too many requests in too short a time."""

    statuses, codes = (429,), ("rate_limited",)


class SiteFailure(SiteError):
    """The site itself failed or is not available."""

    statuses, codes = (500, 502, 503, 504), ("internal", "unavailable")


def _kinds() -> list[type[SiteError]]:
    return [BadRequest, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge, RateLimited, SiteFailure]


_BY_CODE = {code: kind for kind in _kinds() for code in kind.codes}
_BY_STATUS = {status: kind for kind in _kinds() for status in kind.statuses}


def _find_kind(status: int, code: str | None) -> type[SiteError]:
    # The code decides; a plain Quilt registry sends none, and a newer site may send one we do not know.
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return BadRequest
    return SiteFailure if status >= 500 else SiteError


def make_site_error(status: int, body: object, note: str = "", *, repeated: bool = False) -> SiteError:
    """The exception for an error answer.

    Reads both shapes: ``{"message", "code", "request_id"}`` (registry) and ``{"status": "failed",
    "response", "error": {"code", "request_id"}}`` (core). Anything else keeps only the status.

    :param body: the decoded JSON body, or None when it was not JSON.
    :param note: a sentence of ours to follow the site's.
    :param repeated: an earlier attempt got no answer.
    """
    message: object = None
    details: Mapping[str, object] = {}
    if isinstance(body, Mapping):
        error = body.get("error")
        details = error if isinstance(error, Mapping) else body
        message = body.get("message", body.get("response"))
    if not isinstance(message, str) or not message:
        message = f"The site answered with status {status}."
    if len(message) > MAX_SENTENCE:
        message = message[:MAX_SENTENCE] + "…"
    if note:
        message = f"{message.rstrip('.')}. {note}"
    code, request_id = details.get("code"), details.get("request_id")
    code = code if isinstance(code, str) else None
    kind = _find_kind(status, code)
    return kind(
        message,
        status=status,
        code=code,
        request_id=request_id if isinstance(request_id, str) else None,
        repeated=repeated,
    )
