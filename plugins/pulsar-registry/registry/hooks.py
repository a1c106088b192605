"""What the registry answers when core asks its plugins."""

from collections.abc import Iterable, Mapping

import click
from flask import render_template
from markupsafe import Markup

from core.hookspecs import hookimpl
from core.identity import Identity
from core.users import services
from registry.cli import gc_command, reindex_command, stats_command, verify_command
from registry.services.carts import PackageSource
from registry.services.pushes import RESERVED

__all__ = ["cart_sources", "register_commands", "reserved_usernames", "signed_in_page"]


@hookimpl
def register_commands(cli: click.Group) -> None:
    """``flask registry gc``, ``reindex``, ``stats`` and ``verify``."""
    for command in (gc_command, reindex_command, stats_command, verify_command):
        cli.add_command(command)


@hookimpl
def reserved_usernames() -> Iterable[str]:
    """Names that mean an audience, or nobody, in the handle of a package."""
    return RESERVED


@hookimpl
def signed_in_page(identity: Identity) -> Markup:
    """A code for the published client, which opens the page and then asks its user for it."""
    return Markup(render_template("registry/code.html", code=services.create_code(identity)))  # noqa: S704 - escaped by the template


@hookimpl(optionalhook=True)
def cart_sources() -> Mapping[str, PackageSource]:
    """Packages can be put into carts."""
    return {"registry": PackageSource()}
