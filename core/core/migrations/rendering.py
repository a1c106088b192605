"""Write column types and identifiers into a revision so that it imports nothing but SQLAlchemy and Alembic.

A revision is a record of what was done. If it imported the plugin's own types, it would do something else
as soon as those change, and nothing at all once the plugin's modules move.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Dialect
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.elements import False_, True_
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.migrations.errors import MigrationError

__all__ = ["dialect_imports", "quote", "render_item"]

_DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]
    "mysql": mysql.dialect(),
    "mariadb": mysql.dialect(),
}


def render_item(type_: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Alembic's hook: the source of ``item``, or False to let Alembic write it.

    :raises MigrationError: for a column type that cannot be written without importing it.
    """
    if type_ == "server_default":
        return _render_default(item)
    if type_ != "type":
        return False
    if isinstance(item, TypeDecorator) and not _is_sqlalchemys(item):
        return _with_variants(item.impl_instance, _variants_of_decorator(item))
    if not _is_sqlalchemys(item):
        raise MigrationError(
            f"the type {item!r} cannot be written without importing {type(item).__module__}: "
            "make the revision with --empty and write it with types of SQLAlchemy"
        )
    # Alembic would write a variant for "mysql" and the same once more for "mariadb".
    return _with_variants(item, item._variant_mapping) if item._variant_mapping else False


def _render_default(default: Any) -> str | Literal[False]:
    """Truth values stay what they are: Alembic would write the 0 of SQLite, which PostgreSQL refuses."""
    words: dict[type, str] = {False_: "sa.false()", True_: "sa.true()"}
    return words.get(type(getattr(default, "arg", None)), False)


def _is_sqlalchemys(type_: TypeEngine[Any]) -> bool:
    return type(type_).__module__.startswith("sqlalchemy.")


def _variants_of_decorator(type_: "TypeDecorator[Any]") -> dict[str, TypeEngine[Any]]:
    """The type that ``type_`` is stored as, by the name of each database where it is not the plain one."""
    plain = type_.impl_instance
    found = {name: type_.load_dialect_impl(dialect) for name, dialect in _DIALECTS.items()}
    return {
        name: here
        for name, here in found.items()
        if repr(here) != repr(_DIALECTS[name].type_descriptor(plain))
    }


def _with_variants(plain: TypeEngine[Any], variants: Mapping[str, TypeEngine[Any]]) -> str:
    names: dict[str, list[str]] = {}
    for name, type_ in variants.items():
        names.setdefault(_source(type_), []).append(name)
    return _source(plain) + "".join(
        f".with_variant({source}, {', '.join(map(quote, sorted(which)))})" for source, which in names.items()
    )


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


def dialect_imports(source: str) -> str:
    """The import line of the dialects that ``source`` mentions; empty if there are none."""
    names = [name for name in ("mysql", "postgresql", "sqlite") if re.search(rf"\b{name}\.\w", source)]
    return f"from sqlalchemy.dialects import {', '.join(names)}" if names else ""
