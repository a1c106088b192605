"""What is one's own, and what others share with one by name."""

from typing import Any

from sqlalchemy import select

from core import sharing
from core.db import db
from core.identity import Identity
from core.sharing import Audience, Grant
from core.users.models import User
from registry.models import Package
from registry.services import access

__all__ = ["list_packages"]

EVERYBODY = (Audience.PUBLIC, Audience.LOGGED_IN)


def list_packages(identity: Identity) -> dict[str, list[dict[str, Any]]]:
    """``own`` packages and those ``shared`` with the caller or a class of his; sorted, whatever the case."""
    mine = select(Grant.object_id).where(
        Grant.kind == Package.__tablename__, sharing.reaching(identity, without=EVERYBODY)
    )
    query = (
        select(
            Package.owner_id,
            User.username,
            Package.name,
            access.has_grant(access.PUBLIC),
            access.has_grant(access.TEAM),
        )
        .join(User, User.id == Package.owner_id)
        .where((Package.owner_id == identity.user_id) | Package.id.in_(mine))
    )
    found: dict[str, list[dict[str, Any]]] = {"own": [], "shared": []}
    for owner_id, owner, name, is_public, is_team in db.session.execute(query):
        which = "own" if owner_id == identity.user_id else "shared"
        found[which].append(
            {"owner": owner, "name": name, "is_public": bool(is_public), "is_team": bool(is_team)}
        )
    for packages in found.values():
        packages.sort(
            key=lambda package: (package["owner"].lower(), package["name"].lower(), package["name"])
        )
    return found
