"""Modules that are imported when they are first used.

``pulsar --help`` has to answer in a quarter of a second, and pyarrow alone takes that long to import. Instead
of import statements spread through functions, a module that needs a heavy one says so once, at its top:

    if TYPE_CHECKING:
        from pulsar_client import tables
    else:
        tables = LazyModule("pulsar_client.tables")

and the first ``tables.something`` pays for the import. ``importlib.util.LazyLoader`` does nearly the same,
but until Python 3.12 two threads that touch such a module at once could see it half loaded.
"""

import importlib
from typing import Any


class LazyModule:
    """Stands for a module until an attribute is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
