"""What a route says before its function: who may call it, and what comes in.

    @bp.post("")
    @require_permission(P.CREATE_RUN)
    @body(RunSchema())
    def create_run(data): ...

A route that names no permission and is not :func:`public` needs a login.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from itertools import islice
from typing import Any, Final, NoReturn, TypeVar

from flask import Flask, Request, current_app, g, request
from marshmallow import RAISE, Schema, ValidationError, fields
from marshmallow.validate import Length

from core.errors import (
    BadJSON,
    BadRequest,
    NotFound,
    PulsarError,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
    ValidationFailed,
)
from core.identity import current_identity

__all__ = [
    "RouteInfo",
    "assert_permission",
    "body",
    "login_required",
    "public",
    "query",
    "read_json",
    "refuse_unasked",
    "require_permission",
    "returns",
    "route_info",
]

View = TypeVar("View", bound=Callable[..., Any])
PIECE: Final = 2**16  # B that are unzipped at a time
SURROGATE: Final = re.compile("[\ud800-\udfff]")  # legal in JSON, and in no encoding
# What SURROGATE and NUL look like in JSON, where nothing else can be either of them.
ESCAPED: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
CONTAINERS: Final = frozenset({dict, list})
# B of the largest body for each value in it. One of two bytes, such as [], takes up to 100 in memory.
VALUE_BYTES: Final = 16
MAX_DEPTH: Final = 300  # of a body; far below what Python itself can walk
TOO_DEEP: Final = "The JSON is nested too deeply."
MOST_UNKNOWN: Final = 20  # keys that nobody asked for, before the rest of a body is not looked at any more


@dataclass
class RouteInfo:
    """What the decorators of a route declared, for the guard and for the API description."""

    public: bool = False
    login: bool = False  # said aloud; without a word a route needs a login too
    permission: str | None = None
    body: Schema | None = None
    query: Schema | None = None
    returns: dict[int, tuple[Schema | Mapping[str, Any] | None, str]] = field(default_factory=dict)


def route_info(view: Callable[..., Any]) -> RouteInfo:
    """The declarations of ``view``; of an undecorated function, those of a route that needs a login."""
    info: RouteInfo = view.__dict__.setdefault("pulsar_route", RouteInfo())
    return info


def _own_info(wrapper: Callable[..., Any]) -> RouteInfo:
    """The declarations of a wrapper made by ``wraps``, no longer shared with what it wraps."""
    info = route_info(wrapper)
    wrapper.__dict__["pulsar_route"] = info = replace(info, returns=dict(info.returns))
    return info


def public(view: View) -> View:
    """Anyone may call the route, without credentials too."""
    route_info(view).public = True
    return view


def login_required(view: View) -> View:
    """Any authenticated caller may call the route. The default, for those who like to see it said."""
    route_info(view).login = True
    return view


def require_permission(permission: str, masquerade: bool = False) -> Callable[[View], View]:
    """Only holders of ``permission`` may call the route.

    :param masquerade: answer 404 instead of 403, as if there were no such route.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            assert_permission(permission, masquerade)
            return view(*args, **kwargs)

        _own_info(guarded).permission = str(permission)
        return guarded  # type: ignore[return-value]

    return decorate


def assert_permission(permission: str, masquerade: bool = False) -> None:
    """:raises PulsarError: unless the present caller holds ``permission``."""
    identity = current_identity()
    try:
        identity.require(permission)
    except PulsarError:
        if masquerade and identity.authenticated:
            raise NotFound from None
        raise


def guard(app: Flask, request: Request) -> None:
    """Refuse ``request``, whose caller is anonymous, if its route needs a login.

    Also for OPTIONS, which Flask answers without the view: it would tell which routes there are.
    """
    if request.url_rule is None:
        return
    info = route_info(app.view_functions[request.url_rule.endpoint])
    if not info.public and (info.permission is None or not current_identity().can(info.permission)):
        raise Unauthenticated


def refuse_unasked(app: Flask, request: Request) -> None:
    """Refuse what the route of ``request`` does not take: a query, or the body of a DELETE.

    Who sends ``{"user_id": 2}`` where nobody reads it must not have deleted something else. Callers who may
    not use the route hear of that, from the view, and of nothing else.
    """
    if request.url_rule is None or not g.mount.envelope or request.method in ("OPTIONS", "TRACE"):
        return
    asks = request.environ.get("QUERY_STRING")
    sends = request.method == "DELETE" and request.environ.get("CONTENT_LENGTH") != "0"
    if not asks and not sends:
        return
    info = route_info(app.view_functions[request.url_rule.endpoint])
    if info.permission is not None and not current_identity().can(info.permission):
        return
    if asks and info.query is None:
        load(_NOTHING, _query(_NOTHING))
    if sends and info.body is None:
        _load_body(_NOTHING)


def body(schema: Schema) -> Callable[[View], View]:
    """Check the JSON body against ``schema`` and hand it on as ``data``. Any Content-Type will do."""
    schema.unknown = RAISE

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            return view(*args, data=_load_body(schema), **kwargs)

        _own_info(checked).body = schema
        return checked  # type: ignore[return-value]

    return decorate


def _load_body(schema: Schema) -> dict[str, Any]:
    found = read_json()
    if not isinstance(found, dict):
        raise ValidationFailed("Invalid data: expected an object")
    return load(schema, found)


def query(schema: Schema) -> Callable[[View], View]:
    """Check the query string against ``schema`` and hand it on as ``args``."""
    schema.unknown = RAISE

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            return view(*args, args=load(schema, _query(schema)), **kwargs)

        _own_info(checked).query = schema
        return checked  # type: ignore[return-value]

    return decorate


def _query(schema: Schema) -> dict[str, Any]:
    """The query string; a key may be repeated only where the schema has a list."""
    found: dict[str, Any] = {}
    for key, values in request.args.lists():
        if isinstance(schema.fields.get(key), fields.List):
            found[key] = values
        elif len(values) == 1:
            found[key] = values[0]
        else:
            raise ValidationFailed.from_messages({key: ["Given more than once."]})
    _check_text(found)
    return found


def returns(
    status: int, schema: Schema | Mapping[str, Any] | None = None, description: str = ""
) -> Callable[[View], View]:
    """Say in the API description what the route answers. Changes nothing at run time."""

    def decorate(view: View) -> View:
        route_info(view).returns[status] = (schema, description)
        return view

    return decorate


def load(schema: Schema, found: Mapping[str, Any]) -> dict[str, Any]:
    """:raises ValidationFailed: naming the keys that are wrong."""
    _refuse_many(schema, found)
    try:
        loaded: dict[str, Any] = schema.load(found)
    except ValidationError as exc:
        raise ValidationFailed.from_messages(exc.messages_dict) from None
    return loaded


def _refuse_many(schema: Schema, found: Mapping[str, Any]) -> None:
    """Count before looking: a word for each of a million wrong items takes seconds and a gigabyte."""
    limits = _limits_of(schema)
    messages = {
        key: [f"Longer than maximum length {limits[key]}."]
        for key, value in islice(found.items(), len(limits) + MOST_UNKNOWN)
        if isinstance(value, list | dict) and len(value) > limits.get(key, math.inf)
    }
    if len(found) > len(limits) + MOST_UNKNOWN:
        messages |= {key: ["Unknown field."] for key in islice(found.keys() - limits, MOST_UNKNOWN)}
    if messages:
        raise ValidationFailed.from_messages(messages)


@lru_cache(maxsize=1000)
def _limits_of(schema: Schema) -> dict[str, float]:
    """How many items each key of ``schema`` takes at most."""
    found = {}
    for name, taken in schema.load_fields.items():
        known = [rule.max for rule in taken.validators if isinstance(rule, Length) and rule.max is not None]
        found[taken.data_key or name] = min(known, default=math.inf)
    return found


def _check_text(value: Any) -> None:
    """Refuse what JSON can say and no database can store, wherever in the value it is."""
    level = [value]
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if "\x00" in item or (not item.isascii() and SURROGATE.search(item)):
                    raise _cannot_be_stored(value)
            elif isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below


def _cannot_be_stored(value: Any) -> ValidationFailed:
    """The error for ``value``, of which some text is bad; names the key where that is."""
    words = "text holds a character that cannot be stored"
    for key, inner in value.items() if isinstance(value, dict) else ():
        try:
            _check_text([key, inner])
        except ValidationFailed:
            return ValidationFailed.from_messages({ascii(key)[1:-1]: [words]})
    return ValidationFailed(f"Invalid data: {words}")


def read_json(max_bytes: int | None = None) -> Any:
    """The decoded JSON body of the present request; ``{}`` when it is empty.

    :param max_bytes: of the unzipped text; by default what the blueprint, or else the site, allows.
    :raises BadJSON: for anything but strict JSON in UTF-8 (NaN, Infinity and repeated keys included).
    :raises TooLarge: before more than ``max_bytes`` are held in memory, or a value is made of more values
        than there are 16 bytes in that.
    """
    most = max_bytes or g.mount.max_body_bytes or current_app.config["MAX_CONTENT_LENGTH"]
    text = _read_body(most)
    if not text:
        return {}
    # Without reading it: there is a comma or a bracket for each value, and there may be others in texts.
    if sum(map(text.count, (b",", b"[", b"{"))) > most // VALUE_BYTES:
        raise TooLarge("The JSON has too many values.")
    try:
        found = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise BadJSON(TOO_DEEP) from None
    except ValueError:
        raise BadJSON from None
    _check_depth(found)
    if ESCAPED.search(text):
        _check_text(found)
    return found


def _check_depth(found: Any) -> None:
    level: list[Any] = [[found]]
    for _ in range(MAX_DEPTH + 1):
        below = (item.values() if isinstance(item, dict) else item for item in level)
        level = [inner for items in below for inner in items if type(inner) in CONTAINERS]
        if not level:
            return
    raise BadJSON(TOO_DEEP)


def _read_body(max_bytes: int) -> bytes:
    request.max_content_length = max_bytes
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return request.get_data(cache=False)
    if encoding != "gzip":
        raise UnsupportedMedia(f"Content-Encoding {encoding[:20]} is not supported; gzip is.")
    return _unzip(request.get_data(cache=False), max_bytes)


def _unzip(zipped: bytes, max_bytes: int) -> bytes:
    """Unzip piece by piece, so that a small body cannot become a large one in memory."""
    unzipper = zlib.decompressobj(wbits=31)
    pieces, size, rest = [], 0, zipped
    try:
        while rest and not unzipper.eof:
            piece = unzipper.decompress(rest, PIECE)
            rest = unzipper.unconsumed_tail
            size += len(piece)
            if size > max_bytes:
                raise TooLarge
            pieces.append(piece)
    except zlib.error:
        raise BadRequest("The gzip body is damaged.") from None
    if not unzipper.eof or unzipper.unused_data:
        raise BadRequest("The gzip body is damaged.")
    return b"".join(pieces)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_NOTHING: Final = Schema(unknown=RAISE)
