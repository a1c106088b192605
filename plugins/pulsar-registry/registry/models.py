"""Tables of the registry.

A package's revisions, tags, versions and log go with it. Blobs are referred to in two places:
:class:`PackageObject` names the files of all revisions of a package, :class:`Revision` its stored tree.
:class:`Readme` and :class:`Statistics` describe a blob and go with it.
"""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db import PK, Base, BigInt, BigText, Digest, Name, Timestamp, exact
from core.storage.models import Blob
from core.users.models import User

__all__ = [
    "Invitation",
    "LogEntry",
    "Package",
    "PackageObject",
    "Readme",
    "Revision",
    "Statistics",
    "Tag",
    "Usage",
    "Version",
    "Word",
]

_USER = f"{User.__tablename__}.id"
_BLOB = f"{Blob.__tablename__}.digest"
_PACKAGE = "registry_packages.id"
_REVISION = "registry_revisions.id"


class Package(Base):
    """A named collection of data, written ``owner/name``."""

    __tablename__ = "registry_packages"
    __table_args__ = (UniqueConstraint("owner_id", "name_key"),)

    id: Mapped[PK]
    owner_id: Mapped[int] = mapped_column(ForeignKey(_USER))
    name: Mapped[Name]
    # The name without case: Data and data are one name. Folding makes at most three characters of one.
    name_key: Mapped[str] = mapped_column(exact(192))
    description: Mapped[BigText]
    log_head: Mapped[Digest | None]  # hash of the newest entry of the log; see registry.chain
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]


class Revision(Base):
    """One immutable state of a package, known by the top hash of its tree.

    The tree is a blob (see :mod:`registry.stored`): at 100,000 entries it has some twenty megabytes,
    which is nothing for a store of bytes and too much for a row. Its inline metadata is not part of
    the top hash, so the same revision may be pushed again with another tree.
    """

    __tablename__ = "registry_revisions"
    __table_args__ = (UniqueConstraint("package_id", "digest"),)

    id: Mapped[PK]
    package_id: Mapped[int] = mapped_column(ForeignKey(_PACKAGE, ondelete="CASCADE"))
    digest: Mapped[Digest]  # top hash
    tree: Mapped[Digest] = mapped_column(ForeignKey(_BLOB), index=True)  # the stored tree
    # Of the readme, one of the package's objects. No foreign key: SQLite could add none without making the
    # table anew, and the object stays as long as the package does.
    readme: Mapped[Digest | None]
    created_by: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    created_at: Mapped[Timestamp]
    updated_by: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    updated_at: Mapped[Timestamp]


class Readme(Base):
    """The text of an object that is the readme of a revision, as far as it is shown and searched."""

    __tablename__ = "registry_readmes"

    digest: Mapped[Digest] = mapped_column(ForeignKey(_BLOB, ondelete="CASCADE"), primary_key=True)
    text: Mapped[BigText]


class Statistics(Base):
    """What is known of an object that is a Parquet file, by its footer and its first rows."""

    __tablename__ = "registry_statistics"

    digest: Mapped[Digest] = mapped_column(ForeignKey(_BLOB, ondelete="CASCADE"), primary_key=True)
    version: Mapped[int]  # of what is looked for; those of an older one are computed anew
    content: Mapped[BigText]  # JSON; {"wrong": "why"} of one that is no Parquet file, or not a sound one
    head: Mapped[BigText]  # JSON: the first rows, or null; apart, for most who ask do not need them
    computed_at: Mapped[Timestamp]


class PackageObject(Base):
    """An object that some revision of a package names.

    One row for a package, not for a revision: a push of 100,000 entries of which ten are new writes ten
    rows. It keeps the blob from being swept, and it is the answer to "who may read this object":
    whoever may read a package that has a row for it. Which objects one revision needs is in its tree.
    """

    __tablename__ = "registry_package_objects"

    package_id: Mapped[int] = mapped_column(ForeignKey(_PACKAGE, ondelete="CASCADE"), primary_key=True)
    digest: Mapped[Digest] = mapped_column(ForeignKey(_BLOB), primary_key=True, index=True)


class Usage(Base):
    """How many bytes the packages of one owner need: each object once, stored trees not counted.

    Changed only under the lock of the row; see :mod:`registry.services.quotas`. No row: no bytes.
    """

    __tablename__ = "registry_usage"

    owner_id: Mapped[int] = mapped_column(ForeignKey(_USER, ondelete="CASCADE"), primary_key=True)
    bytes: Mapped[BigInt]


class Word(Base):
    """A word by which a package is found, at the revision of its tag ``latest``."""

    __tablename__ = "registry_words"

    word: Mapped[Name] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(
        ForeignKey(_PACKAGE, ondelete="CASCADE"), primary_key=True, index=True
    )
    weight: Mapped[int]  # what it counts for: a word of the name more than one of the readme


class LogEntry(Base):
    """One push, of a new revision or of one that was there. Never changed; :mod:`registry.chain` shows it."""

    __tablename__ = "registry_log"

    id: Mapped[PK]
    package_id: Mapped[int] = mapped_column(ForeignKey(_PACKAGE, ondelete="CASCADE"), index=True)
    digest: Mapped[Digest]  # top hash
    author_id: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    author: Mapped[Name]  # what the author was called then
    message: Mapped[BigText]
    provenance: Mapped[BigText]  # JSON, an object
    previous: Mapped[Digest | None]  # hash of the entry before
    entry: Mapped[Digest]  # hash of this one
    created_at: Mapped[Timestamp]


class Tag(Base):
    """A name for a revision that may move to another."""

    __tablename__ = "registry_tags"

    package_id: Mapped[int] = mapped_column(ForeignKey(_PACKAGE, ondelete="CASCADE"), primary_key=True)
    name: Mapped[Name] = mapped_column(primary_key=True)
    revision_id: Mapped[BigInt] = mapped_column(ForeignKey(_REVISION, ondelete="CASCADE"), index=True)
    created_by: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    created_at: Mapped[Timestamp]
    updated_by: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    updated_at: Mapped[Timestamp]


class Version(Base):
    """A name for a revision that never moves."""

    __tablename__ = "registry_versions"
    __table_args__ = (Index(None, "revision_id"),)

    package_id: Mapped[int] = mapped_column(ForeignKey(_PACKAGE, ondelete="CASCADE"), primary_key=True)
    # The version without its spelling: 1.0, v1.0.0 and 1 are one. A little longer than the text can be.
    key: Mapped[str] = mapped_column(exact(96), primary_key=True)
    version: Mapped[Name]  # as the user spelt it
    revision_id: Mapped[BigInt] = mapped_column(ForeignKey(_REVISION, ondelete="CASCADE"))
    created_by: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    created_at: Mapped[Timestamp]


class Invitation(Base):
    """A package that is offered to an address, until somebody shows that it is his."""

    __tablename__ = "registry_invitations"
    __table_args__ = (UniqueConstraint("package_id", "email"),)

    id: Mapped[PK]
    package_id: Mapped[int] = mapped_column(ForeignKey(_PACKAGE, ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(exact(255), index=True)  # in lower case, like that of a user
    invited_by: Mapped[int | None] = mapped_column(ForeignKey(_USER, ondelete="SET NULL"))
    invited_at: Mapped[Timestamp]
