"""Tables of accounts."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, Boolean, CheckConstraint, ForeignKey, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db import PK, Base, BigInt, Digest, Name, Timestamp, UTCDateTime, exact

if TYPE_CHECKING:
    from core.identity import Identity

__all__ = [
    "ACCESS",
    "API_KEY",
    "CODE",
    "LOWEST_CLASS",
    "REFRESH",
    "SESSION",
    "TOKENS",
    "ApiKey",
    "ClassPermission",
    "Invite",
    "LoginFailure",
    "SecondaryClass",
    "SecondaryClassMember",
    "SecondaryClassPermission",
    "User",
    "UserClass",
    "UserPermission",
]

LOWEST_CLASS = 1  # id of the class of every new user; it always exists

# Kinds of rows in core_api_keys: a key for a program, the cookie of a browser, and the tokens of a program
# that signed in through a page.
API_KEY: Final = "key"
SESSION: Final = "session"
ACCESS: Final = "access"  # what the program sends with its requests
REFRESH: Final = "refresh"  # gets it the next access token
CODE: Final = "code"  # what its user copies from the page; once
TOKENS: Final = frozenset({ACCESS, REFRESH, CODE})  # they end at a set time, used or not


def _lower_name(context: Any) -> str:
    name: str = context.get_current_parameters()["name"]
    return name.lower()


class UserClass(Base):
    """A named set of permissions. Every user has exactly one class."""

    __tablename__ = "core_user_classes"

    id: Mapped[PK]
    name: Mapped[str] = mapped_column(String(24))
    # Lower case: Staff and staff are one name.
    name_key: Mapped[str] = mapped_column(exact(24), unique=True, default=_lower_name)

    permissions: Mapped[list["ClassPermission"]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def permission_names(self) -> list[str]:
        """What the class gives, sorted."""
        return sorted(row.permission for row in self.permissions)


class ClassPermission(Base):
    """One permission of one class. A row each, so that two administrators cannot overwrite each other."""

    __tablename__ = "core_class_permissions"

    user_class_id: Mapped[int] = mapped_column(
        ForeignKey("core_user_classes.id", ondelete="CASCADE"), primary_key=True
    )
    permission: Mapped[str] = mapped_column(exact(64), primary_key=True)


class SecondaryClass(Base):
    """A named set of permissions that users may have besides those of their class. Any number of them."""

    __tablename__ = "core_secondary_classes"

    id: Mapped[PK]
    name: Mapped[str] = mapped_column(exact(24))
    name_key: Mapped[str] = mapped_column(exact(24), unique=True, default=_lower_name)

    permissions: Mapped[list["SecondaryClassPermission"]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def permission_names(self) -> list[str]:
        """What the class gives, sorted."""
        return sorted(row.permission for row in self.permissions)


class SecondaryClassPermission(Base):
    """One permission of one secondary class."""

    __tablename__ = "core_secondary_class_permissions"

    secondary_class_id: Mapped[int] = mapped_column(
        # By the convention the name would be longer than PostgreSQL and MariaDB allow.
        ForeignKey(
            "core_secondary_classes.id", ondelete="CASCADE", name="fk_core_secondary_class_permissions_class"
        ),
        primary_key=True,
    )
    permission: Mapped[str] = mapped_column(exact(64), primary_key=True)


class SecondaryClassMember(Base):
    """One user in one secondary class."""

    __tablename__ = "core_secondary_class_members"

    user_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"), primary_key=True)
    # Without a cascade: a class that has members cannot be deleted, also when one joins meanwhile.
    secondary_class_id: Mapped[int] = mapped_column(
        ForeignKey("core_secondary_classes.id", name="fk_core_secondary_class_members_class"),
        primary_key=True,
        index=True,
    )


class User(Base):
    """A person, or a program, that may sign in."""

    __tablename__ = "core_users"

    id: Mapped[PK]
    username: Mapped[str] = mapped_column(exact(32))
    username_key: Mapped[Name] = mapped_column(unique=True)  # lower case: Ann and ann are one name
    email: Mapped[str] = mapped_column(String(255))  # in lower case; several users may have the same
    # When the user showed that the address is the user's; None: anybody may have typed it.
    email_verified_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    password: Mapped[str] = mapped_column(String(255))  # argon2id, with its parameters
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    locked: Mapped[bool] = mapped_column(Boolean, default=False)
    user_class_id: Mapped[int] = mapped_column(ForeignKey("core_user_classes.id"), index=True)
    # Counts every change of what the user may do. A warm identity is good while this is unchanged.
    generation: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    created_at: Mapped[Timestamp]
    uploaded: Mapped[BigInt] = mapped_column(default=0, server_default=text("0"))  # B, counted by plugins
    downloaded: Mapped[BigInt] = mapped_column(default=0, server_default=text("0"))  # B, counted by plugins
    invites: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))  # left to send
    inviter_id: Mapped[int | None] = mapped_column(
        ForeignKey("core_users.id", ondelete="SET NULL"), index=True
    )

    user_class: Mapped[UserClass] = relationship(lazy="joined", innerjoin=True)
    secondary_classes: Mapped[list[SecondaryClass]] = relationship(
        secondary="core_secondary_class_members", order_by=SecondaryClass.id, viewonly=True
    )
    inviter: Mapped["User | None"] = relationship(remote_side="User.id", viewonly=True)
    own_permissions: Mapped[list["UserPermission"]] = relationship(viewonly=True)
    api_keys: Mapped[list["ApiKey"]] = relationship(  # and sessions, but not those that were revoked
        primaryjoin=lambda: (User.id == ApiKey.user_id) & ApiKey.revoked.is_(False),
        order_by=lambda: (ApiKey.created_at, ApiKey.hash),
        viewonly=True,
    )

    @property
    def secondary_class_names(self) -> list[str]:
        return [found.name for found in self.secondary_classes]

    @property
    def granted(self) -> frozenset[str]:
        """What the classes give, with what was granted to or taken from this user alone."""
        given = {row.permission for row in self.user_class.permissions}
        for secondary in self.secondary_classes:
            given |= {row.permission for row in secondary.permissions}
        for own in self.own_permissions:
            given = given | {own.permission} if own.granted else given - {own.permission}
        return frozenset(given)

    def belongs_to(self, identity: "Identity") -> bool:
        """A user belongs to himself."""
        return self.id == identity.user_id


class UserPermission(Base):
    """One permission that one user has, or has not, whatever the class says."""

    __tablename__ = "core_user_permissions"

    user_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"), primary_key=True)
    permission: Mapped[str] = mapped_column(exact(64), primary_key=True)
    granted: Mapped[bool] = mapped_column(Boolean)


class ApiKey(Base):
    """A key, session or token: acts for its user, within its scope. Only a digest of its secret is kept."""

    __tablename__ = "core_api_keys"
    __table_args__ = (CheckConstraint("timeout BETWEEN 60 AND 31536000", name="timeout_in_range"),)

    hash: Mapped[str] = mapped_column(exact(10), primary_key=True)  # public identifier, not a digest
    user_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[Digest]
    name: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[Timestamp]
    last_used_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ip: Mapped[str] = mapped_column(String(45), default="")
    user_agent: Mapped[str] = mapped_column(String(512), default="")
    revoked: Mapped[bool] = mapped_column(Boolean, default=False)
    permanent: Mapped[bool] = mapped_column(Boolean, default=False)
    # s without use until the key is revoked; of a token, s until it ends.
    timeout: Mapped[int] = mapped_column(Integer, default=1800)
    permissions: Mapped[list[str]] = mapped_column(JSON, default=list)  # the scope; empty: no restriction
    kind: Mapped[str] = mapped_column(exact(16), default=API_KEY, server_default=text("'key'"))
    # Of a token: hash of the code or key that its sign-in began with. What has the same ends together.
    family: Mapped[str] = mapped_column(exact(10), default="", server_default=text("''"))

    @property
    def counted_from(self) -> datetime:
        """From when ``timeout`` counts: the last use, or of a token its making."""
        return self.created_at if self.kind in TOKENS else self.last_used_at


class Invite(Base):
    """A code with which one person may register."""

    __tablename__ = "core_invites"

    code: Mapped[str] = mapped_column(exact(24), primary_key=True)
    inviter_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(255))
    sent_at: Mapped[Timestamp]
    from_ip: Mapped[str] = mapped_column(String(45), default="")
    expired: Mapped[bool] = mapped_column(Boolean, default=False)  # used, revoked, or found to be too old
    # Unique: one user came by one invite, and one invite brought one user.
    invitee_id: Mapped[int | None] = mapped_column(
        ForeignKey("core_users.id", ondelete="SET NULL"), unique=True
    )

    inviter: Mapped[User] = relationship(foreign_keys=inviter_id, viewonly=True)
    invitee: Mapped[User | None] = relationship(foreign_keys=invitee_id, viewonly=True)

    def belongs_to(self, identity: "Identity") -> bool:
        """An invite belongs to the user who sent it."""
        return self.inviter_id == identity.user_id


class LoginFailure(Base):
    """How often somebody failed to sign in lately: to one account, or from one address."""

    __tablename__ = "core_login_failures"

    # A keyed digest: the names that people type by mistake are often their passwords.
    subject: Mapped[Digest] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    ends_at: Mapped[Timestamp] = mapped_column(index=True)  # when all of them are forgotten
