"""As whom a caller may read."""

from typing import Final

from flask import current_app

from core.errors import Forbidden, Unauthenticated
from core.identity import ANONYMOUS, Identity, current_identity
from registry.permissions import RegistryPermissions as P

__all__ = ["reader", "require_admin"]

ADMINS_ONLY: Final = "Must be authenticated as an admin to use this endpoint."


def require_admin(permission: str) -> None:
    """:raises Forbidden: unless the caller has ``permission``, which is one of administrators."""
    if not current_identity().can(permission):
        raise Forbidden(ADMINS_ONLY)


def reader() -> Identity:
    """The identity to look with; for routes that are open to callers without credentials.

    What is shared with the public needs no permission of the site: a caller who lacks it, or whose key
    does, sees what anybody sees.

    :raises Unauthenticated: without credentials, where this site shows nothing to the public.
    :raises Forbidden: with a key that may not read, where this site shows nothing to the public.
    """
    identity = current_identity()
    if identity.can(P.READ):
        return identity
    if current_app.config["REGISTRY_ALLOW_PUBLIC"]:
        return identity if not identity.authenticated else ANONYMOUS
    if not identity.authenticated:
        raise Unauthenticated
    identity.require(P.READ)
    return identity
