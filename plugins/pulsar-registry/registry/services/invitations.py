"""Packages that are offered to an address: whoever shows that it is his gets access."""

from typing import Any, Final

from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError

from core import mail, sharing
from core.db import change, db, now
from core.errors import BadRequest, NotFound
from core.events import emit
from core.identity import Identity
from core.sharing import Audience, Level
from core.users import services as users
from core.users.models import User
from registry.events import RegistryEvents
from registry.models import Invitation, Package
from registry.services import access

__all__ = ["claim", "find_invitation", "invite", "list_for", "list_of", "withdraw"]

MOST: Final = 1000  # invitations to one package that wait
SUBJECT: Final = "{owner} shares {owner}/{name} with you"
TEXT: Final = """Hello,

{inviter} shares the data package {owner}/{name} with you. To see it, sign in with an account that has this
address, or register, and verify the address:

{link}
"""


def invite(package: Package, address: str, identity: Identity) -> None:
    """Offer ``package`` to an address, and mail it so; once. Whether somebody here has it is not said.

    :raises ValidationFailed: if it is no address.
    :raises BadRequest: if too many others wait.
    """
    email = users.check_email(address)
    waiting = select(func.count()).select_from(Invitation).where(Invitation.package_id == package.id)
    if (db.session.scalar(waiting) or 0) >= MOST:
        raise BadRequest(f"{MOST} invitations to this package wait already.", code="too_many")
    try:
        with db.session.begin_nested():
            db.session.add(
                Invitation(package_id=package.id, email=email, invited_by=identity.user_id, invited_at=now())
            )
    except IntegrityError:
        return  # it waits already
    owner = db.session.scalars(select(User.username).where(User.id == package.owner_id)).one()
    emit(RegistryEvents.INVITATION_SENT, target=f"package:{owner}/{package.name}", email=email)
    words = {
        "owner": owner,
        "name": package.name,
        "inviter": identity.username,
        "link": mail.address_of("/login"),
    }
    mail.send(email, SUBJECT.format(**words), TEXT.format(**words))


def find_invitation(package: Package, address: str) -> None:
    """:raises NotFound: if this address was not invited."""
    query = select(Invitation.id).where(
        Invitation.package_id == package.id, Invitation.email == address.lower()
    )
    if db.session.scalar(query) is None:
        raise NotFound(f"User {address} has no access")


def withdraw(package: Package, address: str) -> None:
    """:raises NotFound: if this address was not invited."""
    mine = (Invitation.package_id == package.id, Invitation.email == address.lower())
    if not change(db.session, delete(Invitation).where(*mine)):
        raise NotFound(f"User {address} has no access")


def list_of(package: Package) -> list[dict[str, Any]]:
    """The invitations to a package, oldest first."""
    return _list(_all().where(Invitation.package_id == package.id))


def list_for(identity: Identity) -> list[dict[str, Any]]:
    """The invitations to the caller's address, if it is verified; oldest first."""
    email = _verified_address(identity)
    return _list(_all().where(Invitation.email == email)) if email else []


def claim(identity: Identity) -> None:
    """Turn the invitations to the caller's verified address into access."""
    email = _verified_address(identity)
    if email is None:
        return
    found = db.session.execute(
        select(Invitation, Package)
        .join(Package, Package.id == Invitation.package_id)
        .where(Invitation.email == email)
    ).all()
    for invitation, package in found:
        # Of two who come at once, or of a withdrawal in the same moment, one finds the row.
        taken = change(db.session, delete(Invitation).where(Invitation.id == invitation.id))
        if taken and identity.user_id is not None and identity.user_id != package.owner_id:
            sharing.share(
                package,
                Audience.USER,
                Level.READ,
                subject_id=identity.user_id,
                granted_by=invitation.invited_by,
            )
            access.announce(package, identity.username or "", granted=True)


def _verified_address(identity: Identity) -> str | None:
    return db.session.scalar(
        select(User.email).where(User.id == identity.user_id, User.email_verified_at.is_not(None))
    )


def _all() -> Select[Invitation, str, str]:
    return (
        select(Invitation, Package.name, User.username)
        .join(Package, Package.id == Invitation.package_id)
        .join(User, User.id == Package.owner_id)
        .order_by(Invitation.id)
    )


def _list(query: Select[Invitation, str, str]) -> list[dict[str, Any]]:
    return [
        {
            "invitation_id": invitation.id,
            "owner": owner,
            "package": name,
            "email": invitation.email,
            "invited_at": invitation.invited_at.isoformat(),
        }
        for invitation, name, owner in db.session.execute(query)
    ]
