"""The hook by which plugins let carts hold their files. ``docs/api/cart.md`` describes it with an example."""

from collections.abc import Mapping
from typing import Any

from core.hookspecs import hookspec

__all__ = ["cart_sources"]


@hookspec
def cart_sources() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Return sources of files for carts by their names; each is a :class:`cart.sources.Source`."""
