"""YAML that anyone may have written, read without running, recursing or growing beyond bounds.

PyYAML's safe loader makes no objects, but recurses in C, lets a few lines of aliases stand for billions of
nodes, and takes the last of two equal keys. Here its events are put together instead: keys are text as it is
written (``2013`` and ``no`` are names too), equal keys are an error, and what aliases stand for is counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pulsar_client.errors import BuildError

MAX_BYTES = 16 << 20  # B; a build file for 100,000 entries has about 10 MB
MAX_DEPTH = 100  # levels
MAX_NODES = 2_000_000  # values, those that aliases stand for included
MAX_NUMBER = 100  # characters; YAML numbers to base 60 take quadratic time

_TAG = "tag:yaml.org,2002:"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(path: Path) -> Any:
    """The one document in ``path``: None, texts, numbers, truth values, lists and mappings of text.

    :raises BuildError: naming the line, if it is not that, or too large or too deep.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise BuildError(f"{path} is larger than {MAX_BYTES >> 20} MiB.")
    return parse_yaml(data, str(path))


def parse_yaml(data: bytes | str, name: str) -> Any:
    """:func:`load_yaml` of what was read already.

    :param name: what errors call it.
    """
    composer = _Composer()
    try:
        for event in yaml.parse(data, Loader=_LOADER):
            composer.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}, line {mark.line + 1}" if mark else name
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise BuildError(f"{place}: this is not YAML: {' '.join(str(reason).split())}") from error
    except _Refused as error:
        raise BuildError(f"{name}, line {error.line}: {error}") from error
    except UnicodeDecodeError as error:
        raise BuildError(f"{name} is not UTF-8 text.") from error
    return composer.document


class _Refused(Exception):
    def __init__(self, event: yaml.Event, reason: str) -> None:
        super().__init__(reason)
        self.line = event.start_mark.line + 1 if event.start_mark else 0


@dataclass(slots=True)
class _Open:
    """A list or a mapping of which the end has not come."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    weight: int = 1  # nodes in it, itself included
    key: str | None = None
    merges: list[Any] = field(default_factory=list)


class _Composer:
    def __init__(self) -> None:
        self.document: Any = None
        self._documents = 0
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._scalars = yaml.SafeLoader("")
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _Refused(event, "there must be one document, not several.")
        elif isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _Refused(event, f"there is no anchor {event.anchor!r} before this.")
            value, weight = self._anchors[event.anchor]
            self._add(event, value, weight)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._take_start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._take_end(event)

    def _take_start(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _Refused(event, f"this is nested deeper than {MAX_DEPTH} levels.")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._expect_tag(event, "map" if is_mapping else "seq")
        self._stack.append(_Open({} if is_mapping else [], event.anchor))

    def _take_end(self, event: yaml.CollectionEndEvent) -> None:
        done = self._stack.pop()
        if isinstance(done.value, dict):
            for merged in done.merges:
                done.value |= {key: value for key, value in merged.items() if key not in done.value}
        self._keep(done.anchor, done.value, done.weight)
        self._add(event, done.value, done.weight)

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            is_merge = event.value == "<<" and event.style not in ("'", '"')
            if event.value in top.value and not is_merge:
                raise _Refused(event, f"Naming conflict: {event.value!r} is there twice.")
            top.key = "<<" if is_merge else event.value
            self._keep(event.anchor, event.value, 1)
            if is_merge:
                top.merges.append(None)  # Its value is still to come.
            return
        value = self._make_scalar(event)
        self._keep(event.anchor, value, 1)
        self._add(event, value, 1)

    def _make_scalar(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag
        if tag in (None, "!"):
            tag = self._scalars.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        if kind in ("str", "timestamp", "merge", "value"):  # Dates stay as they are written.
            return event.value
        if kind not in ("null", "bool", "int", "float"):
            raise _Refused(event, f"the tag {event.tag!r} is not allowed.")
        try:
            if len(event.value) > MAX_NUMBER:
                raise ValueError
            return self._scalars.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError, OverflowError) as error:
            raise _Refused(event, f"{event.value[:40]!r} is not of the kind {kind}.") from error

    def _expect_tag(self, event: yaml.CollectionStartEvent, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise _Refused(event, f"the tag {event.tag!r} is not allowed.")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise _Refused(event, "a key must be a text.")

    def _keep(self, anchor: str | None, value: Any, weight: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, weight

    def _add(self, event: yaml.Event, value: Any, weight: int) -> None:
        self._nodes += weight if isinstance(event, yaml.AliasEvent) else 1
        if self._nodes > MAX_NODES:
            raise _Refused(event, f"there are more than {MAX_NODES} values, counting what aliases stand for.")
        if not self._stack:
            self.document = value
            return
        top = self._stack[-1]
        top.weight += weight
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is None:
            raise _Refused(event, "a key must be a text.")
        elif top.key == "<<" and top.merges and top.merges[-1] is None:
            top.merges[-1:] = _list_merged(event, value)
            top.key = None
        else:
            top.value[top.key] = value
            top.key = None


def _list_merged(event: yaml.Event, value: Any) -> Iterator[dict[str, Any]]:
    for mapping in value if isinstance(value, list) else [value]:
        if not isinstance(mapping, dict):
            raise _Refused(event, "only mappings can be merged with <<.")
        yield mapping
