"""Tables of notifications."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db import PK, Base, Name, Timestamp

if TYPE_CHECKING:
    from core.identity import Identity

__all__ = ["Notification", "NotificationType"]


class NotificationType(Base):
    """A kind of notification, e.g. ``annotate_task_done``. Made when it is first used."""

    __tablename__ = "core_notification_types"

    id: Mapped[PK]
    name: Mapped[Name] = mapped_column(unique=True)


class Notification(Base):
    """One thing that one user is told."""

    __tablename__ = "core_notifications"
    # The unread ones of a user and a type, newest last.
    __table_args__ = (Index("ix_core_notifications_user_id", "user_id", "type_id", "read", "id"),)

    id: Mapped[PK]
    user_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"))
    type_id: Mapped[int] = mapped_column(ForeignKey("core_notification_types.id"), index=True)
    sent_at: Mapped[Timestamp]
    contents: Mapped[Any] = mapped_column(JSON)
    read: Mapped[bool] = mapped_column(Boolean, default=False)

    type: Mapped[NotificationType] = relationship(lazy="joined", innerjoin=True)

    def belongs_to(self, identity: "Identity") -> bool:
        """A notification belongs to the user it was sent to."""
        return self.user_id == identity.user_id
