"""Tables of accounts."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import JSON, Boolean, CheckConstraint, ForeignKey, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db import PK, Base, Digest, Name, Timestamp, UTCDateTime, exact

if TYPE_CHECKING:
    from core.identity import Identity

__all__ = ["LOWEST_CLASS", "ApiKey", "ClassPermission", "User", "UserClass", "UserPermission"]

LOWEST_CLASS = 1  # id of the class of every new user; it always exists


class UserClass(Base):
    """A named set of permissions. Every user has exactly one class."""

    __tablename__ = "core_user_classes"

    id: Mapped[PK]
    name: Mapped[str] = mapped_column(String(24), unique=True)

    permissions: Mapped[list["ClassPermission"]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True
    )


class ClassPermission(Base):
    """One permission of one class. A row each, so that two administrators cannot overwrite each other."""

    __tablename__ = "core_class_permissions"

    user_class_id: Mapped[int] = mapped_column(
        ForeignKey("core_user_classes.id", ondelete="CASCADE"), primary_key=True
    )
    permission: Mapped[str] = mapped_column(exact(64), primary_key=True)


class User(Base):
    """A person, or a program, that may sign in."""

    __tablename__ = "core_users"

    id: Mapped[PK]
    username: Mapped[str] = mapped_column(exact(32))
    username_key: Mapped[Name] = mapped_column(unique=True)  # lower case: Ann and ann are one name
    email: Mapped[str] = mapped_column(String(255))
    password: Mapped[str] = mapped_column(String(255))  # argon2id, with its parameters
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    locked: Mapped[bool] = mapped_column(Boolean, default=False)
    user_class_id: Mapped[int] = mapped_column(ForeignKey("core_user_classes.id"), index=True)
    # Counts every change of what the user may do. A warm identity is good while this is unchanged.
    generation: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    created_at: Mapped[Timestamp]

    user_class: Mapped[UserClass] = relationship(lazy="joined", innerjoin=True)

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
    """A key that acts for its user, within its scope. Only the digest of the secret is kept."""

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
    timeout: Mapped[int] = mapped_column(Integer, default=1800)  # s without use until the key is revoked
    permissions: Mapped[list[str]] = mapped_column(JSON, default=list)  # the scope; empty: no restriction
