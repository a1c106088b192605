"""Write column types and identifiers into a revision so that it imports nothing but SQLAlchemy and Alembic.

A revision is a record of what was done. If it imported the plugin's own types, it would do something else
as soon as those change, and nothing at all once the plugin's modules move.
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Dialect
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.migrations.errors import MigrationError

__all__ = ["dialect_imports", "quote", "render_item"]

_DIALECTS: dict[tuple[str, ...], Dialect] = {
    ("sqlite",): sqlite.dialect(),
    ("postgresql",): postgresql.dialect(),
    ("mysql", "mariadb"): mysql.dialect(),
}


def render_item(type_: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Alembic's hook: the source of ``item``, or False to let Alembic write it.

    :raises MigrationError: for a column type that cannot be written without importing it.
    """
    if type_ != "type" or type(item).__module__.startswith("sqlalchemy."):
        return False
    if not isinstance(item, TypeDecorator):
        raise MigrationError(
            f"the type {item!r} cannot be written without importing {type(item).__module__}: "
            "make the revision with --empty and write it with types of SQLAlchemy"
        )
    return _render_decorator(item)


def _render_decorator(type_: "TypeDecorator[Any]") -> str:
    """The type that ``type_`` is stored as, with a variant for each database where that differs."""
    plain = type_.impl_instance
    text = _source(plain)
    for names, dialect in _DIALECTS.items():
        here = type_.load_dialect_impl(dialect)
        if repr(here) != repr(dialect.type_descriptor(plain)):
            text += f".with_variant({_source(here)}, {', '.join(map(quote, names))})"
    return text


def _source(type_: TypeEngine[Any]) -> str:
    found = re.match(r"sqlalchemy\.dialects\.(\w+)", type(type_).__module__)
    return f"{found.group(1) if found else 'sa'}.{type_!r}"


def quote(value: str | Iterable[str] | None) -> str:
    """``value`` as source, in double quotes as the rest of the code has them."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    words = [quote(word) for word in value]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def dialect_imports(*sources: str) -> str:
    """The import line of the dialects that ``sources`` mention; empty if there are none."""
    names = [
        name
        for name in ("mysql", "postgresql", "sqlite")
        if any(re.search(rf"\b{name}\.\w", s) for s in sources)
    ]
    return f"from sqlalchemy.dialects import {', '.join(names)}" if names else ""
