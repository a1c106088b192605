"""Tables of the cart.

A cart's entries go with it; an entry whose bytes are in the site's store keeps them from being swept by
its foreign key. :class:`File` describes what was fetched and goes with the bytes.
"""

from enum import StrEnum

from sqlalchemy import Boolean, ForeignKey, Index, Integer, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from core.db import PK, Base, BigInt, BigText, Digest, Name, Timestamp, exact
from core.storage.models import Blob
from core.users.models import User

__all__ = ["ALIVE", "BUSY", "Cart", "CartState", "Entry", "EntryState", "File", "Slot"]

_BLOB = f"{Blob.__tablename__}.digest"
MESSAGE_MAX = 500  # characters of what a client is told of a failure
REASON_MAX = 200  # characters of what is wrong with one file


class CartState(StrEnum):
    """What a cart is."""

    WAITING = "waiting"  # nothing has begun
    STAGING = "staging"  # files are being fetched
    READY = "ready"
    ERROR = "error"
    DELETED = "deleted"


BUSY = (CartState.WAITING, CartState.STAGING)
ALIVE = (*BUSY, CartState.READY)


class EntryState(StrEnum):
    """What a file of a cart is."""

    WAITING = "waiting"  # its source was not asked yet
    STAGING = "staging"  # its source was asked for it
    STAGED = "staged"
    ERROR = "error"


class Cart(Base):
    """A list of files that somebody wants to take away."""

    __tablename__ = "cart_carts"

    id: Mapped[PK]
    uid: Mapped[str] = mapped_column(exact(255), index=True)  # the client chose it
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), index=True)
    # "<owner>:<uid>", and nothing once it is deleted: what makes a living uid unique per owner on every
    # database, for none of them takes two rows without a value for the same.
    living: Mapped[str | None] = mapped_column(exact(280), unique=True)
    state: Mapped[str] = mapped_column(exact(8), index=True)
    message: Mapped[str] = mapped_column(exact(MESSAGE_MAX))  # why it failed; printable ASCII
    label: Mapped[str] = mapped_column(exact(200))
    bundle: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    document: Mapped[Digest]  # of what it holds: another document makes another cart
    # The table of its files (see cart.table), from which downloads are composed; once it is ready.
    table_digest: Mapped[Digest | None] = mapped_column(ForeignKey(_BLOB), index=True)
    containers: Mapped[BigText]  # JSON: [[source, container], ...] whose readers alone may download
    files: Mapped[int] = mapped_column(Integer)
    files_done: Mapped[int] = mapped_column(Integer)
    files_failed: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[BigInt]  # B, of files of which the size is known
    bytes_done: Mapped[BigInt]  # B
    # B that are still to be fetched and have their place; none before that was decided.
    reserved: Mapped[BigInt | None]
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp] = mapped_column(index=True)
    ready_at: Mapped[Timestamp | None]
    used_at: Mapped[Timestamp]  # made, changed or downloaded
    reading_until: Mapped[Timestamp | None]  # somebody downloads it, and will have said so again by then
    deleted_at: Mapped[Timestamp | None]


class Entry(Base):
    """A file of a cart.

    One that is ``staged`` and has no digest is a local file of its source, read in place.
    """

    __tablename__ = "cart_entries"
    __table_args__ = (
        UniqueConstraint("cart_id", "path_key"),
        Index("ix_cart_entries_state", "cart_id", "state", "position"),
    )

    cart_id: Mapped[int] = mapped_column(ForeignKey(Cart.id, ondelete="CASCADE"), primary_key=True)
    # In the order of the bytes of the paths.
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[BigText]
    path_key: Mapped[Digest]  # SHA-256 of the path, which is too long for an index
    source: Mapped[Name]
    source_id: Mapped[BigText]
    hashtype: Mapped[str] = mapped_column(exact(32))
    hashsum: Mapped[str] = mapped_column(exact(128))  # lower-case hex; empty: not verified
    size: Mapped[BigInt | None]  # B
    mtime: Mapped[BigInt | None]  # s since 1970
    state: Mapped[str] = mapped_column(exact(8))
    on_tape: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    error: Mapped[str] = mapped_column(exact(REASON_MAX))
    digest: Mapped[Digest | None] = mapped_column(ForeignKey(_BLOB), index=True)
    tries: Mapped[int] = mapped_column(Integer)  # that failed, or looks at a file on tape
    since: Mapped[Timestamp | None]  # when the first of these was
    next_try: Mapped[Timestamp | None]


class File(Base):
    """What is known of a file of a source: that it is here, or that a cart is fetching it.

    The key is the SHA-256 of source, id, hash and, where there is no hash, size and time of change.
    """

    __tablename__ = "cart_files"

    key: Mapped[Digest] = mapped_column(primary_key=True)
    digest: Mapped[Digest | None] = mapped_column(ForeignKey(_BLOB, ondelete="CASCADE"), index=True)
    size: Mapped[BigInt]  # B
    mtime: Mapped[BigInt]  # s since 1970
    cart_id: Mapped[BigInt | None]  # who fetches it, until then
    until: Mapped[Timestamp | None]


class Slot(Base):
    """A connection to the archive, and who has it until when. Number 0 guards decisions about space."""

    __tablename__ = "cart_slots"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[Name]
    until: Mapped[Timestamp | None]
