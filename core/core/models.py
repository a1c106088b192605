"""Tables of core that have no subpackage of their own."""

from sqlalchemy import ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import PK, Base, BigInt, Name, Timestamp

__all__ = ["Grant"]


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
