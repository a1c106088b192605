"""JSON answers that are too large to be built first."""

from collections.abc import Iterable, Iterator
from itertools import chain
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

from flask import Response

__all__ = ["iter_list", "iter_object", "json_stream", "quoted"]

PIECE: Final = 2**16  # characters or bytes that are handed to the server at a time
MANY: Final = 500  # members that are joined at a time


def iter_object(members: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """A JSON object of keys that need no escaping and of values that are JSON already."""
    start, pieces = "{", []
    for key, value in members:
        pieces.append(f'"{key}":{value}')
        if len(pieces) == MANY:
            yield (start + ",".join(pieces)).encode()
            start, pieces = ",", []
    if pieces:
        yield (start + ",".join(pieces)).encode()
        start = ","
    yield b"{}" if start == "{" else b"}"


def iter_list(items: Iterable[bytes]) -> Iterator[bytes]:
    """A JSON list of what is JSON already."""
    yield b"["
    for number, item in enumerate(items):
        yield b"," + item if number else item
    yield b"]"


def json_stream(pieces: Iterable[bytes]) -> Response:
    """``pieces`` as the body. A short one is sent whole, with its length; a long one as it is made.

    So what fails early is answered as an error. What fails later cuts the JSON, which no parser takes
    for whole.
    """
    gathered = _gather(pieces)
    first = next(gathered, b"")
    second = next(gathered, None)
    if second is None:
        return Response(first, mimetype="application/json")
    return Response(chain((first, second), gathered), mimetype="application/json")


def _gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
