"""What one app knows of itself: its plugins, their places, permissions, attributes and jobs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pluggy
from flask import Flask, current_app

from core.blueprint import Mount
from core.config import Settings
from core.permissions import PermissionsEnum

if TYPE_CHECKING:
    from core.plugins import Plugin

__all__ = ["Site", "current_site", "site_of"]


@dataclass
class Site:
    """State of one app. Two apps in one process share none of it."""

    instance: Path
    settings: Settings
    hooks: pluggy.PluginManager
    plugins: dict[str, "Plugin"] = field(default_factory=dict)  # by name, in the order of loading
    mounts: dict[str, Mount] = field(default_factory=dict)  # by the name of the blueprint
    segments: dict[str, str] = field(default_factory=dict)  # first path segment: the plugin it belongs to
    permissions: dict[str, PermissionsEnum] = field(default_factory=dict)
    job_kinds: dict[str, Any] = field(default_factory=dict)
    attributes: dict[type, dict[str, Any]] = field(default_factory=dict)  # what modify() added, by class
    api_description: bytes | None = None  # the OpenAPI document, made when it is first asked for
    identities: dict[bytes, Any] = field(default_factory=dict)  # warm identities, by digest of the key


def site_of(app: Flask) -> Site:
    """The site of ``app``."""
    return cast(Site, app.extensions["pulsar"])


def current_site() -> Site:
    """The site of the present app."""
    return cast(Site, current_app.extensions["pulsar"])
