"""As whom a caller may read."""

from flask import current_app

from core.errors import Unauthenticated
from core.identity import ANONYMOUS, Identity, current_identity
from registry.permissions import RegistryPermissions as P

__all__ = ["reader"]


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
