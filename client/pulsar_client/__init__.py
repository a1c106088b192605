"""Build, push and install data packages: the Python side of the ``pulsar`` command.

    import pulsar_client

    client = pulsar_client.Client("https://data.example.org")
    client.install("demo/flights")
    client.load("demo/flights")["flights.csv"].table()

Public are ``Client``, ``load`` and the exceptions of :mod:`pulsar_client.errors`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from pulsar_client import errors
from pulsar_client.errors import PulsarError

if TYPE_CHECKING:
    from pulsar_client.client import Client, load

__version__ = "0.1.0"
__all__ = ["Client", "PulsarError", "__version__", "errors", "load"]


def __getattr__(name: str) -> Any:
    # `pulsar --help` imports this package too, and need not pay for what Client needs.
    if name in {"Client", "load"}:
        return getattr(importlib.import_module("pulsar_client.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
