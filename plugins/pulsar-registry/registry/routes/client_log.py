"""``POST /api/log``: what the published client reports after each build. Taken, and told to nobody."""

from typing import Any, Final

from core.blueprint import Blueprint
from core.errors import ValidationFailed
from core.requests import public, read_json, returns

__all__ = ["bp"]

MAX_BYTES: Final = 2**16

bp = Blueprint("client_log", __name__)


@bp.post("/api/log")
@public
@returns(200, {"type": "object"}, "Always empty.")
def post_log() -> dict[str, Any]:
    """Analytics of the published client: a list of objects. It is checked and dropped."""
    found = read_json(MAX_BYTES)
    if not isinstance(found, list) or not all(isinstance(event, dict) for event in found):
        raise ValidationFailed("Invalid data: expected a list of objects")
    return {}
