"""Readmes: the text that introduces a package, kept with the revision for previews, pages and search."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from core.db import db
from core.errors import NotFound
from core.storage.rows import write_rows
from registry.errors import WrongObjects
from registry.models import Readme
from registry.services.contents import read_part

__all__ = ["PREVIEW_CHARACTERS", "Text", "find_text", "keep_text", "read_text"]

MAX_BYTES: Final = 640 * 1024  # of a readme; what is beyond is neither shown nor found
PREVIEW_CHARACTERS: Final = 1024  # of a readme in a preview and in the answer of a search


@dataclass(frozen=True, slots=True)
class Text:
    """The beginning of an object, as text."""

    digest: str
    text: str


def read_text(digest: str | None) -> Text | None:
    """The object's first 640 KiB as UTF-8; what is none, and NUL, which no database keeps, is left out.

    :raises WrongObjects: the object went missing since it was looked for.
    """
    if digest is None:
        return None
    try:
        content = read_part(digest, 0, MAX_BYTES)
    except NotFound:
        raise WrongObjects("The readme is missing.", [digest]) from None
    return Text(digest, content.decode("utf-8", "ignore").replace("\x00", ""))


def keep_text(readme: Text | None) -> str | None:
    """Write the text down, unless it is there; the digest to know it by."""
    if readme is None:
        return None
    if db.session.scalar(select(Readme.digest).where(Readme.digest == readme.digest)) is None:
        write_rows(db.session, Readme, [{"digest": readme.digest, "text": readme.text}])
    return readme.digest


def find_text(digest: str | None) -> str | None:
    """The text that was written down for the object."""
    return None if digest is None else db.session.scalar(select(Readme.text).where(Readme.digest == digest))
