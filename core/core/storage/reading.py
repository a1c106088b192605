"""Bytes by their places: a part of one blob, or many small blobs with as few requests as can be."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from core.errors import NotFound
from core.storage.backends import Backend, Place

__all__ = ["open_place", "read_places"]

_WINDOW = 4 * 2**20  # bytes of blobs that are read ahead, in the order in which they lie in their packs
_GAP = 32 * 2**10  # bytes that are read for nothing rather than asking once more


def open_place(backend: Backend, place: Place, start: int = 0, stop: int | None = None) -> BinaryIO:
    """The bytes ``start`` to ``stop`` (exclusive) of the blob at ``place``; the caller closes it.

    :raises NotFound: its file is not there.
    """
    if not place.is_packed:
        return backend.open(place.name, start, stop)
    last = place.size if stop is None else min(stop, place.size)
    return backend.open(place.name, place.start + min(start, last), place.start + last)


def read_places(backend: Backend, places: Sequence[Place]) -> Iterator[bytes]:
    """The bytes of blobs, in this order.

    :raises NotFound: a file is not there, or ends too early.
    """
    window: list[Place] = []
    held = 0
    for place in places:
        window.append(place)
        held += place.size
        if held >= _WINDOW:
            yield from _read_window(backend, window)
            window, held = [], 0
    yield from _read_window(backend, window)


def _read_window(backend: Backend, window: Sequence[Place]) -> Iterator[bytes]:
    found: dict[Place, bytes] = {}
    run: list[Place] = []
    stop = 0
    for place in sorted(set(window), key=lambda one: (one.name, one.start)):
        if run and (place.name != run[0].name or place.start > stop + _GAP):
            found |= _read_run(backend, run)
            run = []
        run.append(place)
        stop = place.start + place.size
    found |= _read_run(backend, run)
    return (found[place] for place in window)


def _read_run(backend: Backend, run: Sequence[Place]) -> dict[Place, bytes]:
    """The bytes of neighbours in one file."""
    if not run:
        return {}
    first, stop = run[0].start, run[-1].start + run[-1].size
    with backend.open(run[0].name, first, stop) as stream:
        data = stream.read(stop - first)
    if len(data) < stop - first:
        raise NotFound.of("Blob", run[0].name)
    return {place: data[place.start - first : place.start - first + place.size] for place in run}
