"""The list ``PLUGINS`` in the text of a ``config.py``: add a name to it, or take one out.

The file is the operator's. Nothing else in it changes, comments stay, and a list that is not written out as
plain texts is left alone.
"""

import ast
import re
from collections.abc import Iterator

__all__ = ["NotPlain", "add", "remove"]


class NotPlain(ValueError):
    """``PLUGINS`` is not one list of texts that is written out, so no program should edit it."""


def add(source: bytes, name: str) -> bytes:
    """``source`` with ``name`` at the end of ``PLUGINS``.

    :raises NotPlain: if that cannot be done by inserting a word.
    """
    found = _find(source)
    start, stop = _span(source, found)
    word = _quoted(source, found, name)
    if not found.elts:
        inside = source[start + 1 : stop - 1]
        if b"\n" not in inside:
            edited = source[: start + 1] + word + source[stop - 1 :]
        else:
            edited = _insert_line(source, stop - 1, b"    " + word + b",", closing=True)
        return _checked(edited, [name])
    last = _span(source, found.elts[-1])
    rest = source[last[1] : stop - 1]
    comma = b"," in re.sub(rb"#[^\n]*", b"", rest)
    if b"\n" not in rest:
        edited = source[: last[1]] + b", " + word + source[last[1] :]
    else:
        edited = _insert_line(source, last[1], word + b",")
        if not comma:
            edited = edited[: last[1]] + b"," + edited[last[1] :]
    return _checked(edited, [*_names(found), name])


def remove(source: bytes, name: str) -> bytes:
    """``source`` without ``name`` in ``PLUGINS``; a comment beside it stays on a line of its own.

    :raises NotPlain: as :func:`add`. :raises LookupError: if it is not in the list.
    """
    found = _find(source)
    names = _names(found)
    if name not in names:
        raise LookupError(name)
    spans = [_span(source, item) for item in found.elts]
    edited = source
    for at in reversed([at for at, other in enumerate(names) if other == name]):
        edited = _without(edited, spans, at)
    return _checked(edited, [other for other in names if other != name])


def _without(source: bytes, spans: list[tuple[int, int]], at: int) -> bytes:
    start, stop = spans[at]
    begin = source.rfind(b"\n", 0, start) + 1
    end = source.find(b"\n", stop) + 1 or len(source)
    line = re.fullmatch(rb"\s*,?[ \t]*(#[^\r\n]*)?(\r?\n)?", source[stop:end])
    if line and not source[begin:start].strip():  # alone on its line
        comment = source[begin:start] + line[1] + (line[2] or b"") if line[1] else b""
        return source[:begin] + comment + source[end:]
    if at and b"\n" not in source[spans[at - 1][1] : start]:
        return source[: spans[at - 1][1]] + source[stop:]  # with the comma before it
    comma = re.match(rb"[ \t]*,[ \t]*", source[stop:])
    return source[:start] + source[stop + (comma.end() if comma else 0) :]


def _find(source: bytes) -> ast.List:
    try:
        text = source.decode()
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as exc:
        raise NotPlain("the file is not Python in UTF-8") from exc
    mentions = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "PLUGINS"]
    lists = list(_assigned(tree))
    if len(mentions) != 1 or len(lists) != 1:
        raise NotPlain("PLUGINS is not one plain list in it")
    if not all(isinstance(item, ast.Constant) and isinstance(item.value, str) for item in lists[0].elts):
        raise NotPlain("PLUGINS is not a list of plain texts")
    return lists[0]


def _assigned(tree: ast.Module) -> Iterator[ast.List]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "PLUGINS" for target in targets):
                yield node.value


def _names(found: ast.List) -> list[str]:
    return [str(item.value) for item in found.elts if isinstance(item, ast.Constant)]


def _span(source: bytes, node: ast.expr) -> tuple[int, int]:
    """Where ``node`` is, in bytes; Python's own count is in bytes too, from the start of a line."""
    starts = [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", source))]
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset


def _quoted(source: bytes, found: ast.List, name: str) -> bytes:
    """``name`` in the quotes that the list has already."""
    mark = source[_span(source, found.elts[0])[0] :][:1] if found.elts else b'"'
    mark = mark if mark in (b'"', b"'") else b'"'
    return mark + name.encode() + mark


def _insert_line(source: bytes, at: int, text: bytes, *, closing: bool = False) -> bytes:
    """Put a line after the one that holds ``at``, or before it if the list ends there, indented like it."""
    begin = source.rfind(b"\n", 0, at) + 1
    end = source.find(b"\n", at) + 1
    indent = re.match(rb"[ \t]*", source[begin:])[0]  # type: ignore[index]
    newline = b"\r\n" if source[:end].endswith(b"\r\n") else b"\n"
    place = begin if closing else end
    return source[:place] + indent + text + newline + source[place:]


def _checked(edited: bytes, names: list[str]) -> bytes:
    """:raises NotPlain: if the text, read again, does not say what it should."""
    if _names(_find(edited)) != names:
        raise NotPlain("PLUGINS is written in a way that cannot be edited by a program")
    return edited
