"""``/api/capabilities``: what this registry can do beyond the old protocol."""

from typing import Any, Final

from flask import current_app

from core.blueprint import Blueprint
from core.requests import public, returns

__all__ = ["bp"]

PROTOCOL: Final = 2
FEATURES: Final = (
    "missing",
    "heads",
    "pack",
    "fetch",
    "tag",
    "provenance",
    "quota",
    "object",
    "statistics",
    "diff",
    "search",
    "roles",
    "metadata",
)

bp = Blueprint("capabilities", __name__)


@bp.get("/api/capabilities")
@public
@returns(200, {"type": "object"}, "Protocol, features and limits.")
def get_capabilities() -> dict[str, Any]:
    """What this registry can do. A 404 here tells a client that it talks to an original Quilt 2 registry."""
    config = current_app.config
    return {
        "protocol": PROTOCOL,
        "features": list(FEATURES),
        "limits": {
            "missing_objects": config["REGISTRY_MISSING_OBJECTS"],
            "pack_bytes": config["REGISTRY_PACK_BYTES"],
            "pack_object_bytes": config["REGISTRY_PACK_OBJECT_BYTES"],
            "provenance_bytes": config["REGISTRY_PROVENANCE_BYTES"],
            "quota_bytes": config["REGISTRY_QUOTA_BYTES"],
        },
    }
