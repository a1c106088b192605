"""Readmes as HTML that can do nothing: no markup of the author's own, no images, no scripts, no styles.

The text is what anybody pushed. HTML in it is shown as text; of links only those to the web, to mail and to
files of the package are kept; images become links. What comes out needs no further cleaning. No framework, no
database.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["MAX_CHARACTERS", "render"]

MAX_CHARACTERS: Final = 2**15  # that are rendered; the worst of them take some two seconds
DEEPER: Final = 2  # levels that headings go down: the page has two above them
SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
KEPT: Final = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)

_markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])


def render(text: str, link: Callable[[str], str]) -> str:
    """``text``, which is Markdown, as HTML.

    :param link: gives the address of a file of the package by its path.
    """
    tokens = _markdown.parse(text)
    for token in _walk(tokens):
        token.attrs.pop("style", None)  # of the cells of a table; the page's policy refuses it
        if token.type.startswith("heading_"):
            token.tag = f"h{min(6, int(token.tag[1:]) + DEEPER)}"
        elif token.type == "link_open":
            _set_target(token, token.attrs.pop("href", ""), link)
    return str(_markdown.renderer.render(_without_images(tokens, link), _markdown.options, {}))


def _walk(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or ())


def _set_target(token: Token, target: Any, link: Callable[[str], str]) -> None:
    """Let the link go there, or nowhere."""
    address = _address(str(target), link)
    token.attrs.pop("title", None)
    if address is not None:
        token.attrs["href"] = address
        token.attrs["rel"] = "nofollow noopener noreferrer"


def _address(target: str, link: Callable[[str], str]) -> str | None:
    if KEPT.match(target):
        return target
    path = _path(target)
    return link(path) if path else None


def _path(target: str) -> str | None:
    """The path in the package that a relative link means; None if it is none, or leaves the package."""
    if SCHEME.match(target) or target.startswith(("/", "#", "?")):
        return None
    found: list[str] = []
    for part in unquote(target.partition("#")[0].partition("?")[0]).split("/"):
        if part == ".." and not found:
            return None
        if part == "..":
            found.pop()
        elif part not in ("", "."):
            found.append(part)
    return "/".join(found)


def _without_images(tokens: list[Token], link: Callable[[str], str]) -> list[Token]:
    """Images as links with their description: nothing is fetched from elsewhere because somebody looks."""
    for token in tokens:
        if token.children:
            token.children = [new for child in token.children for new in _unpictured(child, link)]
    return tokens


def _unpictured(token: Token, link: Callable[[str], str]) -> list[Token]:
    if token.type != "image":
        return [token]
    opening = Token("link_open", "a", 1)
    _set_target(opening, token.attrs.get("src", ""), link)
    text = Token("text", "", 0, content=token.content or "image")
    return [opening, text, Token("link_close", "a", -1)]
