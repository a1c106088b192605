"""``/api_keys``: keys and sessions, one's own and those of others."""

from typing import Any

from flask import Response, g, request

from core.blueprint import Blueprint
from core.errors import Unauthenticated
from core.identity import Identity, current_identity, identity_of
from core.permissions import CorePermissions as P
from core.requests import assert_permission, body, login_required, public, query, require_permission, returns
from core.responses import add_page_headers, json_response
from core.site import current_site
from core.users import services
from core.users.serializers import ApiKeyQuery, ApiKeySerializer, NewApiKey, RevokeQuery

__all__ = ["bp"]

bp = Blueprint("api_keys", __name__, url_prefix="/api_keys")

TEXT = {"type": "string"}
NAMES = {"type": "array", "items": TEXT}
MADE = {"type": "object", "properties": {"hash": TEXT, "key": TEXT, "permissions": NAMES}}


@bp.get("/current")
@login_required
@returns(200, {"type": "object", "properties": {"key": {}, "effective_permissions": NAMES}})
def get_current() -> Response:
    """The key or session of this request, and what may be done with it."""
    identity = current_identity()
    key = None
    if identity.key_hash is not None:
        key = ApiKeySerializer.serialize(
            services.get_key(identity.key_hash, identity, P.API_KEYS_VIEW_OTHERS)
        )
    effective = sorted(name for name in current_site().permissions if identity.can(name))
    return json_response({"key": key, "effective_permissions": effective})


@bp.get("/<key_hash>")
@require_permission(P.API_KEYS_VIEW)
@returns(200, ApiKeySerializer())
def get_key(key_hash: str) -> Response:
    """One key or session, revoked ones too. Those of others need `api_keys_view_others`."""
    key = services.get_key(key_hash, current_identity(), P.API_KEYS_VIEW_OTHERS)
    return json_response(ApiKeySerializer.serialize(key))


@bp.get("")
@require_permission(P.API_KEYS_VIEW)
@query(ApiKeyQuery())
@returns(200, ApiKeySerializer(many=True))
@returns(404, None, "There is no such user.")
def list_keys(args: dict[str, Any]) -> Response:
    """Keys and sessions of a user, newest first. Those of others need `api_keys_view_others`."""
    user_id = _user_of(args, P.API_KEYS_VIEW_OTHERS)
    page, limit = args["page"], args["limit"]
    keys, total = services.list_keys(user_id, include_dead=args["include_dead"], page=page, limit=limit)
    response = json_response(ApiKeySerializer.serialize_many(keys))
    return add_page_headers(response, total=total, page=page, limit=limit)


@bp.post("")
@public
@body(NewApiKey())
@returns(200, MADE, "The key, which cannot be shown again.")
def create_key(data: dict[str, Any]) -> Response:
    """Make an API key, for the caller or for the user whose name and password are in the body."""
    maker = _maker(data.pop("username", None), data.pop("password", None))
    assert maker.user_id is not None, "there is somebody"
    key, text = services.create_key(services.get_user(maker.user_id), maker=maker, **data)
    return json_response({"hash": key.hash, "key": text, "permissions": key.permissions})


def _maker(username: str | None, password: str | None) -> Identity:
    identity = current_identity()
    if username is None and password is None and identity.authenticated:
        return identity
    if not username or not password:
        raise Unauthenticated("Invalid credentials.")
    # From here on this is who acts, for the log and for the events too.
    g.identity = identity_of(services.log_in(username, password, request.remote_addr or ""))
    return current_identity()


@bp.delete("/<key_hash>")
@require_permission(P.API_KEYS_REVOKE)
@returns(200, TEXT)
def revoke_key(key_hash: str) -> Response:
    """Revoke a key or session. Those of others need `api_keys_revoke_others`."""
    services.revoke_key(services.get_key(key_hash, current_identity(), P.API_KEYS_REVOKE_OTHERS))
    return json_response(f"APIKey {key_hash} has been revoked.")


@bp.delete("")
@require_permission(P.API_KEYS_REVOKE)
@query(RevokeQuery())
@returns(200, TEXT)
@returns(404, None, "There is no such user.")
def revoke_keys(args: dict[str, Any]) -> Response:
    """Revoke all keys and sessions of a user, also the one that asks."""
    user = services.get_user(_user_of(args, P.API_KEYS_REVOKE_OTHERS))
    keep = current_identity().key_hash if args["keep_current"] else None
    services.revoke_all_keys(user, keep=keep or "")
    return json_response("All api keys have been revoked.")


def _user_of(args: dict[str, Any], permission: str) -> int:
    """Whose keys are meant.

    :raises Forbidden: if they are somebody else's and the caller lacks ``permission``.
    """
    own = current_identity().user_id
    asked: int | None = args.get("user_id", own)
    if asked is None:
        raise Unauthenticated
    if asked != own:
        assert_permission(permission)
    return services.get_user(asked).id
