"""Blueprints that say how the site shall treat them, and which paths are whose."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flask
from flask import Response

if TYPE_CHECKING:
    from core.errors import PulsarError
    from core.site import Site

__all__ = ["BARE", "SITE_LIMITS", "Blueprint", "Mount", "RateLimits", "mount_of"]

BARE = ""  # the auth scheme of those who send the key alone, without a word before it
SITE_LIMITS = ""  # the rate limits of those who set none: the site's, by key, by user and by address
RateLimits = tuple[int, int] | str | None


class Blueprint(flask.Blueprint):
    """A Flask blueprint with the site's options.

    :param envelope: False for a foreign protocol: JSON answers leave as the views gave them.
    :param error_formatter: builds the body of every error under the blueprint's paths, core's own
        errors (401, 404, 405, 413, 429, 500) included.
    :param auth_schemes: words accepted before the credentials in ``Authorization``, lower case.
        ``token`` is core's own; ``bearer``, ``basic`` and :data:`BARE` (the key alone) are for
        clients that know nothing else.
    :param owns: first path segments that belong to this blueprint although no rule of it matches,
        relative to its prefix. Default: everything below a prefix that is not ``/``. A blueprint at ``/``
        with a rule like ``/<uid>`` owns what nobody else does.
    :param max_body_bytes: largest request body, or the name of the setting that says so; None means
        the site's ``MAX_CONTENT_LENGTH``.
    """

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        envelope: bool = True,
        error_formatter: Callable[["PulsarError"], Response] | None = None,
        auth_schemes: Sequence[str] = ("token",),
        owns: Sequence[str] = (),
        max_body_bytes: int | str | None = None,
        rate_limits: RateLimits = SITE_LIMITS,
        cors: Sequence[str] | None = None,
        cors_paths: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(name, import_name, **kwargs)
        self.envelope = envelope
        self.error_formatter = error_formatter
        self.auth_schemes = frozenset(auth_schemes)
        self.owns = tuple(owns)
        self.max_body_bytes = max_body_bytes
        self.rate_limits = rate_limits
        self.cors = cors
        self.cors_paths = tuple(cors_paths)

    @property
    def setting_names(self) -> list[str]:
        """Settings that its options name."""
        named = (self.max_body_bytes, self.rate_limits, None if self.cors == "*" else self.cors)
        return [name for name in named if isinstance(name, str) and name]


@dataclass(frozen=True)
class Mount:
    """A plugin's blueprint at its place in the site."""

    plugin: str
    prefix: str  # "" or "/cart", never with a slash at the end
    owns: tuple[str, ...] = ()
    envelope: bool = True
    error_formatter: Callable[["PulsarError"], Response] | None = None
    auth_schemes: frozenset[str] = frozenset({"token"})
    max_body_bytes: int | None = None
    rate_limits: RateLimits = SITE_LIMITS
    cors: frozenset[str] | None = None
    cors_paths: tuple[str, ...] = ()  # each with a slash at the end

    @classmethod
    def of(cls, plugin: str, bp: flask.Blueprint, prefix: str, config: Mapping[str, Any]) -> "Mount":
        """How ``bp`` is treated when mounted at ``prefix``; a plain Flask blueprint gets the defaults."""
        names = ("owns", "envelope", "error_formatter", "auth_schemes", "max_body_bytes", "rate_limits")
        options = {name: getattr(bp, name) for name in names if hasattr(bp, name)}
        if isinstance(setting := options.get("max_body_bytes"), str):
            options["max_body_bytes"] = config.get(setting)  # None where a plugin could not be loaded
        cors = getattr(bp, "cors", None)
        if isinstance(cors, str):
            cors = ["*"] if cors == "*" else config.get(cors, ())
        if cors is not None:
            options["cors"] = frozenset(cors)
            options["cors_paths"] = tuple(
                f"{prefix}/{path.strip('/')}/" for path in getattr(bp, "cors_paths", ())
            )
        return cls(plugin=plugin, prefix=prefix, **options)

    @property
    def paths(self) -> tuple[str, ...]:
        """Path prefixes that belong to the mount, each without a slash at the end."""
        owned = tuple(f"{self.prefix}/{segment.strip('/')}" for segment in self.owns)
        return (self.prefix, *owned) if self.prefix else owned


CORE = Mount(plugin="core", prefix="")


def mount_of(site: "Site", path: str, blueprint: str | None) -> Mount:
    """Whose request this is: by the blueprint that routing chose, else by the longest owned path.

    A plugin that is mounted at ``/`` has no right to the first segments of core and of other plugins. What
    nobody owns is of the plugin that takes any first segment, if there is one.
    """
    mounts = site.mounts
    owner = site.segments.get(path.split("/", 2)[1])
    if blueprint is not None:
        mount = mounts.get(blueprint.partition(".")[0], CORE)
        if mount.prefix or mount.plugin == "core" or owner in (None, mount.plugin):
            return mount
    owned = ((p, m) for m in mounts.values() for p in m.paths if path == p or path.startswith(p + "/"))
    best = max(owned, key=lambda pair: len(pair[0]), default=None)
    if best is not None:
        return best[1]
    owner = owner or site.taker
    return next((m for m in mounts.values() if m.plugin == owner and not m.prefix), CORE)
