"""Every hook of core. ``docs/plugins/hooks.md`` has an example of each; a test compares the two.

A plugin implements a hook by a function of the same name marked ``@hookimpl`` in its ``hooks.py``; it
takes any subset of the arguments. An unknown name stops the start; ``@hookimpl(optionalhook=True)``
exempts hooks of plugins that may be absent. A plugin declares hooks of its own in ``hookspecs.py``.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click
    from flask import Flask, Request, Response
    from markupsafe import Markup

    from core.authentication import Claim
    from core.identity import Identity
    from core.models import Event

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("pulsar")
hookimpl = pluggy.HookimplMarker("pulsar")


@hookspec
def register_commands(cli: "click.Group") -> None:
    """Add commands to ``cli``, the group ``flask <plugin>``."""


@hookspec
def register_health_checks() -> Iterable[tuple[str, Callable[[], str], bool]]:  # type: ignore[empty-body]
    """Return ``(name, check, mandatory)``; ``check()`` returns ``"ok"``, or one line on what is wrong."""


@hookspec
def app_ready(app: "Flask") -> None:
    """Called once, when every plugin is in place and before the first request."""


@hookspec
def event(name: str, payload: dict[str, Any], event: "Event") -> None:
    """Called after the commit for each thing that happened, in a transaction of its own, at least once."""


@hookspec
def request_finished(identity: "Identity", response: "Response", elapsed: float) -> None:
    """Called when a request is answered and its transaction stored; ``elapsed`` seconds after it came."""


@hookspec(firstresult=True)
def authenticate_request(request: "Request") -> "Claim | None":
    """Say whom a credential stands for that core does not know, or None if there is none of yours."""


@hookspec
def reserved_usernames() -> Iterable[str]:  # type: ignore[empty-body]
    """Return names, in lower case, that nobody can register with, in whatever case."""


@hookspec
def signed_in_page(identity: "Identity") -> "Markup | None":
    """Return HTML for the page that a browser sees after signing in, or None; it can load and run nothing."""
