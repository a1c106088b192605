"""`install`: a revision of the site comes into the local store.

Every byte is hashed before it gets a name that counts, and the local ``latest`` moves only when all is here.
Interrupted, it goes on where it was: finished blobs are kept, large ones continue in their middle.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from pulsar_client import filtering
from pulsar_client.errors import ConnectionFailed, DigestMismatch, NotFound, ProtocolError
from pulsar_client.files import hold_part, remove, require_space
from pulsar_client.handles import Handle
from pulsar_client.manifest import find_node, get_top_digest, list_blobs
from pulsar_client.packs import group_records, read_records
from pulsar_client.progress import Progress
from pulsar_client.registry import Registry, Remote
from pulsar_client.revisions import find_revision
from pulsar_client.store import Store

WORKERS = 8
CHUNK_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18  # of a pack that are read at once; two calls for each small blob would cost more
ATTEMPTS = 4  # for one blob whose connection breaks in the middle; each goes on where the last one stopped


@dataclass(frozen=True, slots=True)
class InstallResult:
    """What `install` did."""

    package: str
    digest: str
    fetched: int  # blobs
    fetched_bytes: int


def install(
    store: Store,
    registry: Registry,
    package: Handle,
    *,
    digest: str | None,
    tag: str | None,
    version: str | None = None,
    where: Mapping[str, str] | None = None,
    progress: Progress,
) -> InstallResult:
    """Fetch a revision (by default ``latest``) and make it the local ``latest``.

    :param package: with a path, only that part's blobs are fetched; the tree is always whole.
    :param digest: a top digest, or its first 6 or more characters.
    :param where: fetch the data of those entries only whose metadata say this; see
        :func:`pulsar_client.filtering.choose_blobs`.
    :raises NotFound: if there is no such revision or part, or no entry of which ``where`` is true.
    :raises DigestMismatch: if the site sends something else than it promised; nothing becomes visible then.
    :raises NotEnoughSpace: before anything is fetched.
    """
    wanted = find_revision(registry, package, digest=digest, tag=tag, version=version)
    remote = registry.get_package(package, wanted)
    check_tree(remote, wanted)
    needed = _list_needed(remote, package)
    before = 0, 0
    if where:
        metadata = needed & list_blobs(remote.root, metadata_only=True)
        before = _fetch_missing(store, registry, remote, metadata, progress)
        chosen = filtering.choose_blobs(store, remote.root, package.path, where)
        if not chosen:
            wish = ", ".join(f"{key}={value}" for key, value in where.items())
            raise NotFound(f"Of no entry of {package} the metadata say {wish}.", status=404)
        needed = metadata | chosen
    after = _fetch_missing(store, registry, remote, needed, progress)
    store.put_revision(package, remote.root)
    return InstallResult(package.package, wanted, before[0] + after[0], before[1] + after[1])


def _fetch_missing(
    store: Store, registry: Registry, remote: Remote, needed: Iterable[str], progress: Progress
) -> tuple[int, int]:
    """Fetch what of ``needed`` is not here; how many blobs and bytes that was."""
    missing = {blob: remote.sizes[blob] for blob in needed if store.find_blob_size(blob) is None}
    total = sum(missing.values())
    require_space(store.root, total)
    if missing:
        progress.start("install", total)
        fetch(store, registry, remote, missing, progress.advance)
    return len(missing), total


def check_tree(remote: Remote, digest: str) -> None:
    """:raises DigestMismatch: if it is not the tree of that top digest."""
    if get_top_digest(remote.root) != digest:
        raise DigestMismatch(f"The site sent another tree than {digest[:12]}.")


def _list_needed(remote: Remote, package: Handle) -> set[str]:
    """The blobs of the wanted part, and the metadata of the whole tree as far as the site offers it."""
    node = find_node(remote.root, package.path)
    if node is None:
        raise NotFound(f"{package.package} has no entry {'/'.join(package.path)!r}.", status=404)
    needed = list_blobs(node)
    if not needed <= remote.sizes.keys() or not needed <= remote.urls.keys():
        raise ProtocolError("The site does not say where all blobs of the tree are.")
    extra = list_blobs(remote.root, metadata_only=True) & remote.sizes.keys() & remote.urls.keys()
    return needed | extra


def fetch(
    store: Store,
    registry: Registry,
    remote: Remote,
    missing: dict[str, int],
    advance: Callable[[int], None],
) -> None:
    """Fetch blobs, given with their sizes, into the store."""
    limits = registry.get_capabilities()
    small: dict[str, int] = {}
    if "fetch" in limits.features:
        small = {blob: size for blob, size in missing.items() if size <= limits.packed_blob_bytes}
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [
            pool.submit(_fetch_pack, store, registry, remote, dict(pack), advance)
            for pack in group_records(small.items(), limits.pack_bytes)
        ]
        jobs += [
            pool.submit(download, store, registry, blob, size, remote.urls[blob], advance)
            for blob, size in missing.items()
            if blob not in small
        ]
        try:
            for job in jobs:
                job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch_pack(
    store: Store,
    registry: Registry,
    remote: Remote,
    sizes: dict[str, int],
    advance: Callable[[int], None],
) -> None:
    """Fetch small blobs together; what did not arrive is fetched one by one."""
    written: dict[str, str] = {}
    try:
        try:
            with registry.open_pack(list(sizes)) as response:
                stream = io.BufferedReader(_Stream(response), BUFFER_BYTES)
                for digest, data in read_records(stream, sizes):
                    written[digest] = store.write_temporary(data)
                    advance(len(data))
        except ConnectionFailed:
            pass  # What came is whole and verified.
        store.keep_blobs([(path, digest) for digest, path in written.items()])
    except BaseException:
        for path in written.values():
            remove(path)
        raise
    for digest in sizes.keys() - written.keys():
        download(store, registry, digest, sizes[digest], remote.urls[digest], advance)


class _Stream(io.RawIOBase):
    """A streamed answer as something to read from."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._response.raw.read(len(buffer), decode_content=True)
        except Exception as error:
            raise ConnectionFailed(f"The connection broke in the middle of a pack: {error}") from error
        buffer[: len(data)] = data
        return len(data)


def download(
    store: Store, registry: Registry, digest: str, size: int, url: str, advance: Callable[[int], None]
) -> None:
    """Fetch one blob into the store, going on with what an earlier attempt left in ``tmp/``.

    :raises DigestMismatch: if the bytes are wrong; they are thrown away.
    :raises ConnectionFailed: if it broke too often; what came is kept for the next time.
    """
    part = store.temporary / f"{digest}.part"
    with hold_part(part):
        if store.find_blob_size(digest) is not None:
            part.unlink()
            return  # Someone else was faster.
        for attempt in range(ATTEMPTS):
            try:
                _continue_part(registry, part, digest, size, url, advance)
                break
            except ConnectionFailed:
                if attempt == ATTEMPTS - 1:
                    raise
        _verify_part(part, digest)
        store.keep_blobs([(part, digest)])


def _continue_part(
    registry: Registry, part: Path, digest: str, size: int, url: str, advance: Callable[[int], None]
) -> None:
    have = part.stat().st_size
    if have > size:
        os.truncate(part, 0)
        have = 0
    if have == size:
        return
    with (
        registry.http.open("GET", url, signed=True, headers={"Range": f"bytes={have}-"}) as response,
        part.open("r+b") as file,
    ):
        # A site may answer with all of it (200), and an old registry with something it once compressed.
        whole = response.status_code != 206 or response.headers.get("Content-Encoding") not in {
            None,
            "identity",
        }
        if not whole and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ProtocolError(f"The site sent another part of {digest[:12]} than it was asked for.")
        have = 0 if whole else have
        file.seek(have)
        file.truncate()
        _receive(response, file.fileno(), digest, size - have, advance)


def _receive(
    response: requests.Response, descriptor: int, digest: str, room: int, advance: Callable[[int], None]
) -> None:
    try:
        for chunk in response.iter_content(CHUNK_BYTES):
            room -= len(chunk)
            if room < 0:
                raise DigestMismatch(f"The site sent more bytes for {digest[:12]} than it promised.")
            os.write(descriptor, chunk)
            advance(len(chunk))
    except requests.RequestException as error:
        raise ConnectionFailed(f"The connection broke while {digest[:12]} was fetched: {error}") from error
    if room:
        raise ConnectionFailed(f"The connection ended {room} bytes before the end of {digest[:12]}.")


def _verify_part(part: Path, digest: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        part.unlink()
        raise DigestMismatch(f"The site sent wrong bytes for {digest[:12]}.")
