"""Where bytes are kept: once, under their SHA-256, in a folder or in an S3-compatible store.

    blob = storage.store().put(stream, size=..., digest=...)     # bytes first
    db.session.add(Photo(digest=blob.digest))                    # then the row that needs them
    url = storage.links().download(blob.digest, name="photo.jpg")

A model that needs a blob has ``mapped_column(ForeignKey("core_blobs.digest"))``, and that alone keeps it from
being swept (:mod:`core.storage.references`). ``docs/storage.md`` has the whole story.
"""

from core.storage.backends import Backend, Found, Place
from core.storage.digests import Digests, Hasher, digest_of
from core.storage.disposition import content_disposition
from core.storage.factory import LinkMaker, init_app, links, store
from core.storage.models import Blob, BlobProof, Pack, PackProof
from core.storage.ranges import FilePart, Unsatisfiable, parse_range
from core.storage.references import Reference, Referrer
from core.storage.releasing import release
from core.storage.store import BlobStore
from core.storage.sweeping import SweepReport, sweep
from core.storage.verifying import Checked, scrub, verify

__all__ = [
    "Backend",
    "Blob",
    "BlobProof",
    "BlobStore",
    "Checked",
    "Digests",
    "FilePart",
    "Found",
    "Hasher",
    "LinkMaker",
    "Pack",
    "PackProof",
    "Place",
    "Reference",
    "Referrer",
    "SweepReport",
    "Unsatisfiable",
    "content_disposition",
    "digest_of",
    "init_app",
    "links",
    "parse_range",
    "release",
    "scrub",
    "store",
    "sweep",
    "verify",
]
