"""The local store: blobs by digest, trees of revisions, and what ``latest`` is.

The layout is that of Quilt 2 (registry protocol, section 11.4), so an old client can read it:

    quilt_packages/
        .format                              the text 1.3
        objs/<sha256>                        blobs, read-only
        tmp/                                 what is not finished yet
        cache/                               what was built and pushed last, and from which files (ours)
        damaged/<sha256>                     blobs that `verify` took out (ours)
        locks/                               empty files: one per package, and `store` (ours)
        pkgs/Quilt/<owner>/<name>/contents/<top digest>    the tree as JSON
        pkgs/Quilt/<owner>/<name>/tags/latest              the top digest as text

Any number of processes may use one store. Blobs and trees never change, so whoever puts the same one second
changes nothing; ``latest`` is written under the lock of its package. Whoever relies on blobs that no tree
names yet shares the lock ``store``, which `gc` wants for itself.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pulsar_client.blobs import Fingerprint
from pulsar_client.errors import BlobDamaged, ConfigurationError, ManifestError, NotInstalled, StoreError
from pulsar_client.files import hold_lock, sync_folder, sync_paths, write_atomically
from pulsar_client.handles import Handle, is_owner, is_package_name
from pulsar_client.manifest import Group, dump, get_top_digest, is_digest, parse
from pulsar_client.progress import Progress

FORMAT = "1.3"
MIN_SHORT_DIGEST = 6  # characters

StrPath = str | os.PathLike[str]


class Store:
    """The local store below a home folder; made when it is first needed."""

    def __init__(self, home: Path) -> None:
        """:raises StoreError: if the folder is there with a format this version does not know."""
        self.root = home / "quilt_packages"
        self.blobs = self.root / "objs"
        self.temporary = self.root / "tmp"
        self.cache = self.root / "cache"
        self.damaged = self.root / "damaged"
        self.packages = self.root / "pkgs" / "Quilt"
        self._blobs_prefix = f"{self.blobs}{os.sep}"
        self._temporary_prefix = f"{self.temporary}{os.sep}"
        self._prepare()

    def _prepare(self) -> None:
        for folder in (self.blobs, self.temporary, self.cache, self.packages):
            folder.mkdir(parents=True, exist_ok=True)
        marker = self.root / ".format"
        try:
            found = marker.read_text().strip()
        except FileNotFoundError:
            write_atomically(marker, FORMAT.encode())
            return
        if found != FORMAT:
            raise StoreError(
                f"The local store {self.root} has format {found!r}; this version reads {FORMAT}."
            )

    # Blobs

    def get_blob_path(self, digest: str) -> Path:
        """Where the blob is or would be."""
        return Path(self._get_blob_name(digest))

    def _get_blob_name(self, digest: str) -> str:
        # Ten thousand of these are wanted at once, and Path takes its time.
        if not is_digest(digest):
            raise StoreError(f"{digest!r} is not a SHA-256.")
        return self._blobs_prefix + digest

    def find_blob_size(self, digest: str) -> int | None:
        """The size in bytes of a blob that is here, or None."""
        try:
            return os.stat(self._get_blob_name(digest)).st_size
        except FileNotFoundError:
            return None

    def get_blobs_seen(self) -> list[int]:
        """Differs from an earlier answer if a blob came or went in between."""
        status = os.stat(self.blobs)
        return [status.st_mtime_ns, status.st_ino]

    def take_out_blob(self, digest: str) -> None:
        """Move a blob to ``damaged/``, if it is still here."""
        self.damaged.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.get_blob_path(digest).rename(self.damaged / digest)
        self.show_removal()

    def show_removal(self) -> None:
        """Let :meth:`get_blobs_seen` tell. The system's own clock may stand still for a few milliseconds."""
        moment = time.time_ns()
        os.utime(self.blobs, ns=(moment, moment))

    def get_blob_sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """The sizes of blobs that must all be here.

        :raises NotInstalled: naming how many are not.
        """
        sizes: dict[str, int] = {}
        missing = 0
        for digest in digests:
            size = self.find_blob_size(digest)
            if size is None:
                missing += 1
            else:
                sizes[digest] = size
        if missing:
            raise NotInstalled(
                f"{missing} of {missing + len(sizes)} blobs are not in the local store: "
                "build or install the package again."
            )
        return sizes

    def read_blob(self, digest: str, size: int) -> bytes:
        """A blob small enough for memory. Of ten thousand, what Python's own files add would cost the most.

        :raises NotInstalled: if it is not here (any more).
        :raises BlobDamaged: if it has another size.
        """
        try:
            descriptor = os.open(self._get_blob_name(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotInstalled(f"The blob {digest[:12]} is not in the local store any more.") from None
        try:
            data = os.read(descriptor, size + 1)
        finally:
            os.close(descriptor)
        if len(data) != size:
            raise BlobDamaged(f"The blob {digest[:12]} does not have the {size} bytes it had.")
        return data

    def list_missing(self, digests: Iterable[str]) -> set[str]:
        """Those of ``digests`` that are not here."""
        return {digest for digest in digests if self.find_blob_size(digest) is None}

    def make_temporary(self) -> Path:
        """A new name in ``tmp/``, on the same file system as the blobs."""
        return self.temporary / uuid.uuid4().hex

    def write_temporary(self, data: bytes) -> str:
        """Write a small blob to ``tmp/``; returns its name there.

        Of ten thousand, what Python's own files and paths add would cost more than the bytes.
        """
        name = f"{self._temporary_prefix}{os.urandom(16).hex()}"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            written = os.write(descriptor, data)
            while written < len(data):  # a disk that fills up takes what still fits
                written += os.write(descriptor, data[written:])
        except BaseException:
            os.unlink(name)
            raise
        finally:
            os.close(descriptor)
        return name

    def keep_blobs(self, written: Sequence[tuple[StrPath, str]]) -> None:
        """Turn finished temporary files into blobs: all are synced, then all renamed, then the folder synced.

        Doing this for many files at once is what makes small files cheap: one sync writes all of them.
        """
        sync_paths([temporary for temporary, _ in written])
        for temporary, digest in written:
            os.chmod(temporary, 0o444)
            os.rename(temporary, self._get_blob_name(digest))
        if written:
            sync_folder(self.blobs)

    # Packages

    def _get_folder(self, package: Handle) -> Path:
        return self.packages / package.owner / package.name

    @contextlib.contextmanager
    def lock(self, package: Handle) -> Iterator[None]:
        """Be the only writer of ``package`` on this machine."""
        with hold_lock(self.root / "locks" / f"{package.owner}.{package.name}"):
            yield

    @contextlib.contextmanager
    def hold(self, progress: Progress | None = None, *, alone: bool = False) -> Iterator[None]:
        """Let no blob be removed meanwhile; or, ``alone``, let nobody rely on one that no tree names yet."""

        def tell() -> None:
            if progress is not None:
                others = "builds and installs" if alone else "a gc"
                progress.say(f"waiting for {others} of other processes")

        lock = self.root / "locks" / "store"
        if not alone and not lock.exists() and not os.access(self.root, os.W_OK):
            yield  # It cannot be made in a store that one may only read, where nobody has run `gc` yet.
            return
        with hold_lock(lock, shared=not alone, waiting=tell):
            yield

    def list_packages(self) -> list[Handle]:
        """All packages with a ``latest``, by name."""
        found = []
        for tag in self.packages.glob("*/*/tags/latest"):
            owner, name = tag.parts[-4:-2]
            if is_owner(owner) and is_package_name(name):
                found.append(Handle(owner, name))
        return sorted(found, key=str)

    def list_revisions(self, package: Handle) -> list[str]:
        """The top digests of all revisions here, in no order that means anything."""
        folder = self._get_folder(package) / "contents"
        return sorted(path.name for path in folder.glob("*") if is_digest(path.name))

    def find_revision(self, package: Handle, digest: str) -> str:
        """The top digest of the one revision here that begins with ``digest``, in any case.

        :raises NotInstalled: if there is none.
        :raises ConfigurationError: if there are several, or it is too short to tell.
        """
        if len(digest) < MIN_SHORT_DIGEST:
            raise ConfigurationError(f"A shortened digest needs at least {MIN_SHORT_DIGEST} characters.")
        found = [known for known in self.list_revisions(package) if known.startswith(digest.lower())]
        if not found:
            raise NotInstalled(f"{package.package} has no revision {digest[:12]} here.")
        if len(found) > 1:
            raise ConfigurationError(
                f"{package.package} has several revisions here that begin with {digest}."
            )
        return found[0]

    def remove_revision(self, package: Handle, digest: str) -> None:
        """Remove the tree of a revision that is not the latest one. Its blobs stay until `gc`."""
        self._get_tree_path(package, digest).unlink(missing_ok=True)

    def remove_package(self, package: Handle) -> None:
        """Remove all revisions. Their blobs stay until `gc`."""
        folder = self._get_folder(package)
        # The tag first: after a crash there are trees that nobody sees, not a tag without its tree.
        for part in ("tags", "contents"):
            for path in folder.glob(f"{part}/*"):
                path.unlink(missing_ok=True)
        for path in (*folder.glob("*"), folder):
            with contextlib.suppress(OSError):  # Somebody else's files are in it, or it is gone.
                path.rmdir()

    def find_latest(self, package: Handle) -> str | None:
        """The top digest of the latest revision here, or None."""
        try:
            text = (self._get_folder(package) / "tags" / "latest").read_text().strip()
        except FileNotFoundError:
            return None
        return text if is_digest(text) else None

    def get_latest(self, package: Handle) -> str:
        """:raises NotInstalled: if there is none."""
        digest = self.find_latest(package)
        if digest is None:
            raise NotInstalled(f"{package.package} is not in the local store: build or install it first.")
        return digest

    def _get_tree_path(self, package: Handle, digest: str) -> Path:
        return self._get_folder(package) / "contents" / digest

    def find_tree_seen(self, package: Handle, digest: str) -> list[int] | None:
        """Differs from an earlier answer if the tree of the revision was written, or removed, in between."""
        try:
            return list(Fingerprint.of(os.stat(self._get_tree_path(package, digest))))
        except FileNotFoundError:
            return None

    def get_tree_digest(self, package: Handle, digest: str) -> str:
        """The SHA-256 of the tree as it is stored, which differs for trees of one top digest.

        :raises NotInstalled: if the revision is not here.
        """
        return hashlib.sha256(self.read_tree(package, digest)).hexdigest()

    def read_tree(self, package: Handle, digest: str) -> bytes:
        """The tree of a revision that is here as JSON, unchecked.

        :raises NotInstalled: if it is not.
        """
        try:
            return self._get_tree_path(package, digest).read_bytes()
        except FileNotFoundError:
            raise NotInstalled(f"{package.package} has no revision {digest[:12]} here.") from None

    def get_tree(self, package: Handle, digest: str) -> Group:
        """The tree of a revision that is here.

        :raises NotInstalled: if it is not.
        :raises StoreError: if the file was damaged.
        """
        path = self._get_tree_path(package, digest)
        try:
            root = parse(json.loads(self.read_tree(package, digest)))
        except (ValueError, RecursionError, ManifestError) as error:
            raise StoreError(f"The tree {path} is damaged: {error}") from error
        if get_top_digest(root) != digest:
            raise StoreError(f"The tree {path} is damaged: its top digest is another.")
        return root

    def put_revision(self, package: Handle, root: Group) -> str:
        """Keep a tree whose blobs are all here and make it ``latest``; returns its top digest."""
        with self.lock(package):
            return self._put_revision(package, root)

    def change_latest(self, package: Handle, change: Callable[[Group], None]) -> str:
        """Let ``change`` make a new ``latest`` of the one there is then; returns its top digest."""
        with self.lock(package):
            root = self.get_tree(package, self.get_latest(package))
            change(root)
            return self._put_revision(package, root)

    def _put_revision(self, package: Handle, root: Group) -> str:
        digest = get_top_digest(root)
        folder = self._get_folder(package)
        for name in ("contents", "tags"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # Two trees with one top digest may differ in system metadata; the newer one counts.
        write_if_different(folder / "contents" / digest, encode_tree(root))
        write_if_different(folder / "tags" / "latest", digest.encode())
        return digest


def encode_tree(root: Group) -> bytes:
    """A tree as compact JSON with sorted keys: equal trees give equal bytes."""
    return json.dumps(dump(root), sort_keys=True, separators=(",", ":")).encode()


def write_if_different(path: Path, data: bytes) -> None:
    """Write atomically, unless the file has this content already."""
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    write_atomically(path, data)
