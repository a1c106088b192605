"""Who asks, and for which cart."""

import re
from typing import Final

from flask import current_app

from core.errors import BadRequest
from core.identity import Identity, current_identity

__all__ = ["caller", "check_uid"]

UID: Final = re.compile(r"[A-Za-z0-9._~-]{1,255}", re.ASCII)


def caller(permission: str) -> Identity:
    """The caller, who may do this.

    :raises PulsarError: otherwise; without credentials that is asked for only where the site wants them.
    """
    identity = current_identity()
    if identity.authenticated or not current_app.config["CART_ANONYMOUS"]:
        identity.require(permission)
    return identity


def check_uid(uid: str) -> str:
    if not UID.fullmatch(uid):
        raise BadRequest("A cart's id has 1 to 255 letters, digits and characters of ._~-")
    return uid
