"""``/api/users/...``: the users of the site, for administrators, in the words of the protocol."""

from datetime import datetime
from typing import Any, Final

from core.blueprint import Blueprint
from core.errors import BadRequest
from core.identity import Identity, current_identity
from core.permissions import CorePermissions
from core.requests import body, login_required, returns
from registry.routes.callers import require_admin
from registry.serializers import NewUserSchema, UserNameSchema
from registry.services import people

__all__ = ["bp"]

EMPTY: Final = {"type": "object"}
COUNTS: Final = ("packages", "installs", "previews", "pushes", "deletes")

bp = Blueprint("users", __name__, url_prefix="/api/users")


@bp.get("/list")
@login_required
@returns(200, EMPTY, "``results``, by name.")
def list_users() -> dict[str, Any]:
    """Everybody. Needs `site_god_mode`, as all calls here."""
    _admin()
    return {
        "results": [
            {
                "username": person.user.username,
                "email": person.user.email,
                "date_joined": person.user.created_at.isoformat(),
                "last_login": person.last_login and person.last_login.isoformat(),
                "is_superuser": person.is_admin,
                "is_active": person.user.enabled,
            }
            for person in people.list_people()
        ]
    }


@bp.get("/list_detailed")
@login_required
@returns(200, EMPTY, "``users``, by name.")
def list_users_detailed() -> dict[str, Any]:
    """Everybody, with how much each one uses packages."""
    _admin()
    counts = people.count_uses()
    return {
        "users": {
            person.user.username: {
                **{word: counts.get(person.user.username, {}).get(word, 0) for word in COUNTS},
                "status": "active" if person.user.enabled else "disabled",
                "last_seen": _epoch(person.last_seen),
                "is_admin": person.is_admin,
            }
            for person in people.list_people()
        }
    }


@bp.post("/create")
@login_required
@body(NewUserSchema())
@returns(200, EMPTY, "Empty.")
@returns(409, None, "The name is taken.")
def create(data: dict[str, Any]) -> dict[str, Any]:
    """Make an account; its user is mailed a link to set the password."""
    _admin()
    people.create(**data)
    return {}


@bp.post("/disable")
@login_required
@body(UserNameSchema())
@returns(200, EMPTY, "Empty.")
def disable(data: dict[str, Any]) -> dict[str, Any]:
    """Switch an account off; its codes and tokens end."""
    people.set_enabled(_admin(), data["username"], enabled=False)
    return {}


@bp.post("/enable")
@login_required
@body(UserNameSchema())
@returns(200, EMPTY, "Empty.")
def enable(data: dict[str, Any]) -> dict[str, Any]:
    """Switch an account on again."""
    people.set_enabled(_admin(), data["username"], enabled=True)
    return {}


@bp.post("/grant_admin")
@login_required
@body(UserNameSchema())
@returns(200, EMPTY, "Empty.")
def grant_admin(data: dict[str, Any]) -> dict[str, Any]:
    """Make a user an administrator."""
    people.set_admin(_admin(), data["username"], admin=True)
    return {}


@bp.post("/revoke_admin")
@login_required
@body(UserNameSchema())
@returns(200, EMPTY, "Empty.")
def revoke_admin(data: dict[str, Any]) -> dict[str, Any]:
    """Make an administrator an ordinary user."""
    people.set_admin(_admin(), data["username"], admin=False)
    return {}


@bp.post("/reset_password")
@login_required
@body(UserNameSchema())
@returns(200, EMPTY, "Empty.")
def reset_password(data: dict[str, Any]) -> dict[str, Any]:
    """Mail a user a link to set the password."""
    _admin()
    people.mail_reset(data["username"])
    return {}


@bp.post("/delete")
@login_required
@body(UserNameSchema())
@returns(400, None, "Always: accounts are switched off, not deleted.")
def delete(data: dict[str, Any]) -> dict[str, Any]:
    """Never done; switch the account off."""
    _admin()
    raise BadRequest("This endpoint is not enabled.")


def _admin() -> Identity:
    require_admin(CorePermissions.SITE_GOD_MODE)
    return current_identity()


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
