"""Tables of core that have no subpackage of their own."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import PK, Base, BigInt, Name, Timestamp, UTCDateTime, exact

__all__ = ["Event", "Grant"]


class Event(Base):
    """Something that happened. Rows are only ever added: together they are the audit log.

    No foreign keys: what was done stays known when the account that did it is gone.
    """

    __tablename__ = "core_events"
    __table_args__ = (
        Index("ix_core_events_name", "name", "id"),
        Index("ix_core_events_actor", "actor", "id"),
        Index("ix_core_events_target", "target", "id"),
    )

    id: Mapped[PK]
    name: Mapped[Name]  # "core.user.created"
    happened_at: Mapped[Timestamp] = mapped_column(index=True)
    actor_id: Mapped[BigInt | None]  # None: the site itself, or nobody who was known
    actor: Mapped[str] = mapped_column(exact(32), default="")  # the name the actor had
    key_hash: Mapped[str] = mapped_column(exact(10), default="")  # the key that was used
    ip: Mapped[str] = mapped_column(String(45), default="")
    request_id: Mapped[Name] = mapped_column(default="", index=True)
    target: Mapped[str] = mapped_column(exact(128), default="")  # "user:7", "package:ann/flights"
    payload: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # never a secret
    # When every listener had been told; None: not yet, they will be told again.
    delivered_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)


class Grant(Base):
    """One audience may do something with one thing."""

    __tablename__ = "core_grants"
    __table_args__ = (
        UniqueConstraint("kind", "object_id", "audience", "subject_id"),
        # What a list asks: which things of this kind are shared with me?
        Index("ix_core_grants_audience", "kind", "audience", "subject_id", "level", "object_id"),
    )

    id: Mapped[PK]
    kind: Mapped[Name]  # the table whose row is shared
    object_id: Mapped[BigInt]
    audience: Mapped[Name]
    subject_id: Mapped[BigInt]  # a user or a class, by the audience
    level: Mapped[int] = mapped_column(Integer)
    granted_by: Mapped[int | None] = mapped_column(ForeignKey("core_users.id", ondelete="SET NULL"))
    granted_at: Mapped[Timestamp]
