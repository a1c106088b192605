"""What the database knows of blobs: that they are here, whole, and who has sent them."""

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db import PK, Base, Digest, Timestamp, exact
from core.storage.backends import Place

__all__ = ["Blob", "BlobProof", "Pack", "PackProof"]


class Pack(Base):
    """One file that holds many small blobs, one behind the other. It is never changed, only replaced.

    The row comes with those of the first blobs in it; none is ever added. When no blob is left in it, the
    pack is idle, and the sweep removes it after its grace.
    """

    __tablename__ = "core_packs"

    id: Mapped[PK]
    name: Mapped[str] = mapped_column(exact(32), unique=True)  # lower-case hex, by chance
    size: Mapped[int] = mapped_column(BigInteger)  # B
    created_at: Mapped[Timestamp]
    idle_since: Mapped[Timestamp | None]


class Blob(Base):
    """Immutable bytes, kept once, named by their SHA-256.

    A row says that the bytes are there. The two exceptions are written in it: ``condemned_at`` (the
    sweep is removing them) and ``damaged_at`` (verification found them changed or gone); either way the blob
    counts as absent until somebody sends the bytes again.

    Whoever needs the bytes to stay has a column with a foreign key to ``digest``; see
    :mod:`core.storage.references`. Rows that only describe a blob, such as its digests in another
    algorithm, point here with ``ON DELETE CASCADE`` and do not keep it.
    """

    __tablename__ = "core_blobs"

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)  # B
    blake3: Mapped[str] = mapped_column(exact(64))  # lower-case hex
    crc32: Mapped[int] = mapped_column(BigInteger)  # 0 to 2**32 - 1
    created_at: Mapped[Timestamp]
    # Since when nobody is known to refer to it; the grace of the sweep counts from here. A fresh blob is
    # idle until the sweep sees who refers to it; an upload of the same bytes starts the time anew.
    idle_since: Mapped[Timestamp | None] = mapped_column(index=True)
    verified_at: Mapped[Timestamp | None] = mapped_column(index=True)  # when the bytes were last hashed
    condemned_at: Mapped[Timestamp | None] = mapped_column(index=True)
    damaged_at: Mapped[Timestamp | None]  # hardly ever; the index below has only those
    # Where a small blob lies that came with many others; a blob of its own file has neither.
    pack_id: Mapped[int | None] = mapped_column(ForeignKey(Pack.id), index=True)
    pack_start: Mapped[int | None] = mapped_column(BigInteger)  # B before it

    pack: Mapped[Pack | None] = relationship()

    @property
    def place(self) -> Place:
        """Where its bytes are."""
        if self.pack is None:
            return Place(self.digest, 0, self.size)
        return Place(self.pack.name, self.pack_start or 0, self.size)

    @property
    def usable(self) -> bool:
        """Whether the bytes are there and as they were sent, as far as we know."""
        return self.condemned_at is None and self.damaged_at is None


# MariaDB, which knows no partial index, makes a whole one of it.
_is_damaged = Blob.damaged_at.is_not(None)
Index(None, Blob.damaged_at, sqlite_where=_is_damaged, postgresql_where=_is_damaged)


class BlobProof(Base):
    """This user has sent all bytes of this blob, so telling him that it is here gives nothing away."""

    __tablename__ = "core_blob_proofs"

    user_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[Digest] = mapped_column(
        ForeignKey("core_blobs.digest", ondelete="CASCADE"), primary_key=True, index=True
    )
    created_at: Mapped[Timestamp]


class PackProof(Base):
    """This user has sent all bytes of every blob in this pack; see :mod:`core.storage.proofs`."""

    __tablename__ = "core_pack_proofs"

    pack_id: Mapped[int] = mapped_column(ForeignKey(Pack.id, ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("core_users.id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[Timestamp]
