"""What one app knows of itself: its plugins, their places, permissions, attributes and jobs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pluggy
from flask import Flask, current_app

from core.blueprint import Mount
from core.config import Settings
from core.permissions import Permissions

if TYPE_CHECKING:
    from core.limits import Limiter
    from core.plugins import Plugin

__all__ = ["Site", "current_site", "site_of"]


@dataclass
class Site:
    """State of one app. Two apps in one process share none of it."""

    instance: Path
    settings: Settings
    hooks: pluggy.PluginManager
    limiter: "Limiter"
    cors: frozenset[str] = frozenset()  # origins whose pages may call what has no rule of its own
    adding: str = "core"  # the plugin that is being put in its place
    plugins: dict[str, "Plugin"] = field(default_factory=dict)  # by name, in the order of loading
    mounts: dict[str, Mount] = field(default_factory=dict)  # by the name of the blueprint
    segments: dict[str, str] = field(default_factory=dict)  # first path segment: the plugin it belongs to
    taker: str | None = None  # the plugin of which all other first segments are
    permissions: Permissions = field(default_factory=Permissions)
    permission_owners: dict[str, str] = field(default_factory=dict)  # permission or pattern: its plugin
    events: dict[str, Any] = field(default_factory=dict)  # what can happen, by name
    job_kinds: dict[str, Any] = field(default_factory=dict)
    # What modify() added, by class and name, each with the plugin it comes from.
    attributes: dict[type, dict[str, tuple[str, Any]]] = field(default_factory=dict)
    # Who is told of finished requests, each with its call; with nobody to tell a request pays nothing.
    watchers: list[tuple[str, Callable[..., Any]]] = field(default_factory=list)
    api_description: bytes | None = None  # the OpenAPI document, made when it is first asked for
    dumpers: dict[type, Any] = field(default_factory=dict)  # how to serialize, by serializer
    identities: dict[bytes, Any] = field(default_factory=dict)  # warm identities, by digest of the key

    def assign(self, cls: type, attributes: Mapping[str, Any], has: Callable[[type, str], bool]) -> None:
        """Add ``attributes`` to ``cls`` in this app, in the name of the plugin that is being added.

        :param has: whether a class has an attribute of its own.
        :raises ValueError: if a name is taken, also in a base or subclass.
        """
        for name in attributes:
            related = [other for other in self.attributes if issubclass(cls, other) or issubclass(other, cls)]
            owner = next((self.attributes[o][name][0] for o in related if name in self.attributes[o]), None)
            if owner is None and has(cls, name):
                owner = cls.__module__.partition(".")[0]
            if owner is not None:
                raise ValueError(
                    f"{self.adding} cannot add {name} to {cls.__name__}: it is there already, from {owner}"
                )
        added = self.attributes.setdefault(cls, {})
        added |= {name: (self.adding, attribute) for name, attribute in attributes.items()}

    def assigned(self, cls: type) -> dict[str, Any]:
        """What plugins added to ``cls`` and its bases."""
        if not self.attributes:
            return {}
        found = [self.attributes.get(base, {}) for base in reversed(cls.__mro__)]
        return {name: attribute for added in found for name, (_, attribute) in added.items()}


def site_of(app: Flask) -> Site:
    """The site of ``app``."""
    return cast(Site, app.extensions["pulsar"])


def current_site() -> Site:
    """The site of the present app."""
    return cast(Site, current_app.extensions["pulsar"])
