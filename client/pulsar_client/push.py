"""`push`: a revision of the local store goes to the site.

No request per small blob: the site is asked once what it misses, small blobs travel in packs, large ones as
one upload each. After an interruption one pushes again: what was acknowledged is not sent again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from pulsar_client.errors import (
    BadRequest,
    BlobDamaged,
    ConfigurationError,
    Conflict,
    NotFound,
    ProtocolError,
)
from pulsar_client.handles import Handle
from pulsar_client.manifest import list_blobs, list_wire_blobs
from pulsar_client.packs import get_record_bytes, group_records, make_header
from pulsar_client.progress import Progress
from pulsar_client.provenance import recall
from pulsar_client.receipts import Receipt
from pulsar_client.registry import Registry
from pulsar_client.sizes import recall as recall_sizes
from pulsar_client.store import Store

T = TypeVar("T")

PACK_WORKERS = 3  # packs on their way at once; more only fill the same line
UPLOAD_WORKERS = 3
PLAIN_WORKERS = 16  # a plain registry costs two short requests per blob
CHUNK_BYTES = 256 << 10
SHORT_DIGEST = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, slots=True)
class PushResult:
    """What `push` did."""

    package: str
    digest: str
    sent: int  # blobs
    sent_bytes: int
    unchanged: bool  # the site had this revision as its latest already
    page: str | None  # address for people


class BlobBody:
    """One blob as a request body."""

    def __init__(self, store: Store, digest: str, size: int, advance: Callable[[int], None]) -> None:
        self._store, self._digest, self._size, self._advance = store, digest, size, advance

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        yield from read_blob(self._store, self._digest, self._size, self._advance)


class PackBody:
    """Many small blobs as one request body of known length."""

    def __init__(self, store: Store, records: list[tuple[str, int]], advance: Callable[[int], None]) -> None:
        self._store, self._records, self._advance = store, records, advance

    def __len__(self) -> int:
        return sum(get_record_bytes(size) for _, size in self._records)

    def __iter__(self) -> Iterator[bytes]:
        # Gathered, because each piece costs a system call on both sides.
        pieces: list[bytes] = []
        gathered = 0
        for digest, size in self._records:
            pieces += (make_header(digest, size), self._store.read_blob(digest, size))
            gathered += size
            if gathered >= CHUNK_BYTES:
                yield b"".join(pieces)
                self._advance(gathered)
                pieces, gathered = [], 0
        yield b"".join(pieces)
        self._advance(gathered)


def read_blob(store: Store, digest: str, size: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of a blob, exactly ``size`` of them.

    :raises BlobDamaged: if the file has become shorter or longer.
    """
    done = 0
    with store.get_blob_path(digest).open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            done += len(chunk)
            if done > size:
                break
            yield chunk
            advance(len(chunk))
    if done != size:
        raise BlobDamaged(f"The blob {digest[:12]} changed while it was sent.")


def push(
    store: Store,
    registry: Registry,
    package: Handle,
    *,
    public: bool,
    team: bool,
    description: str,
    message: str,
    tag: str,
    expect: str | None,
    provenance: bool,
    digest: str | None = None,
    progress: Progress,
) -> PushResult:
    """Send the local ``latest``, or the local revision ``digest``, and let the site's ``tag`` name it.

    :raises NotInstalled: if there is no such revision here, or not all of its blobs.
    :raises BlobDamaged: if the local store's bytes are not what they were.
    :raises Conflict: if ``tag`` does not name what is expected.
    """
    if public and team:
        raise ConfigurationError("A package is shared with the public or with the team: choose one.")
    digest = store.get_latest(package) if digest is None else store.find_revision(package, digest)
    more: dict[str, object] = {}
    if expect is not None:
        more["expect"] = _find_expected(registry, package, tag, expect)
    receipt = _PushReceipt(store, registry, package, digest, tag)
    # Flags and messages have to arrive even when the data is there already.
    if not (public or team or description or message) and receipt.is_current():
        return PushResult(package.package, digest, 0, 0, True, None)
    tree = store.read_tree(package, digest)
    sizes = recall_sizes(store, package, digest) or store.get_blob_sizes(
        _list_needed(store, package, digest, tree)
    )
    sent = _send(store, registry, package, digest, tree, sizes, progress)
    sent_bytes = sum(sizes[blob] for blob in sent)
    features = registry.get_capabilities().features
    if "tag" in features:
        more["tag"] = tag
    if "provenance" in features:
        more["message"] = message
        more["provenance"] = recall(store, package, digest) if provenance else {}
    else:
        description = description or message
    options: dict[str, Any] = {"public": public, "team": team, "description": description, "more": more}
    # After many times as many bytes nobody would notice what compressing saves.
    options["zipped"] = len(tree) * 10 > sent_bytes
    answer = _put(store, registry, package, digest, tree, sizes, **options)
    if "tag" not in features:
        # A call of its own: a crash before it leaves the old tag in place, never half a package.
        registry.put_tag(package, tag, digest)
    receipt.write(registry.get_capabilities().plain)
    page = answer.get("package_url")
    return PushResult(
        package.package, digest, len(sent), sent_bytes, False, page if isinstance(page, str) else None
    )


def _find_expected(registry: Registry, package: Handle, tag: str, expect: str) -> str | None:
    """The digest that ``expect`` means; None if there must be no such tag.

    Asked before anything is sent. Whether it still holds when the tag moves, the site decides.
    """
    if "tag" not in registry.get_capabilities().features:
        raise ConfigurationError("This site moves a tag without looking where it was: push without expect.")
    wanted = expect.lower()
    if wanted != "none" and not SHORT_DIGEST.fullmatch(wanted):
        raise ConfigurationError(f"Expect a digest, 6 or more characters of it, or none: not {expect!r}.")
    try:
        found = registry.get_tag(package, tag).digest
    except NotFound:
        found = None
    if found is None if wanted == "none" else found is not None and found.startswith(wanted):
        return found
    state = f"names {found[:12]}" if found else "does not exist"
    raise Conflict(
        f"The tag {tag!r} of {package.package} {state}: it is not where you expect it.", status=409
    )


def _put(
    store: Store,
    registry: Registry,
    package: Handle,
    digest: str,
    tree: bytes,
    sizes: Mapping[str, int],
    *,
    more: Mapping[str, object],
    **options: Any,
) -> dict[str, Any]:
    try:
        return registry.put_package(package, digest, tree, sizes, more=more, **options)
    except BadRequest:
        store.get_tree(package, digest)  # Says so if the tree is damaged.
        raise
    except Conflict:
        # The answer to a first attempt may have been lost, and that attempt have moved the tag.
        if "expect" not in more or registry.get_tag(package, str(more["tag"])).digest != digest:
            raise
        return {}


def _list_needed(store: Store, package: Handle, digest: str, tree: bytes) -> list[str]:
    """The blobs of a tree that was checked when it was stored; the site checks it once more."""
    try:
        return list_wire_blobs(json.loads(tree))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return list(list_blobs(store.get_tree(package, digest)))


class _PushReceipt:
    """What was last pushed where, so that pushing it again costs one look at the site's tag.

    The top digest does not cover the system metadata, therefore the whole tree counts.
    """

    def __init__(self, store: Store, registry: Registry, package: Handle, digest: str, tag: str) -> None:
        self._receipt = Receipt(store, "pushed", registry.http.url, package.package)
        self._content = {"digest": digest, "tree": store.get_tree_digest(package, digest)}
        self._registry, self._package, self._tag = registry, package, tag

    def is_current(self) -> bool:
        """Whether the site's tag names what is to be pushed, and all of it is there and sound."""
        written = self._receipt.read()
        plain = written.pop("plain", False)
        if written != self._content:
            return False
        if plain:
            self._registry.get_capabilities()  # It decides how the key is sent.
        try:
            tag = self._registry.get_tag(self._package, self._tag, complete=True)
        except NotFound:
            return False
        return tag.digest == self._content["digest"] and tag.is_complete

    def write(self, plain: bool) -> None:
        self._receipt.write({**self._content, "plain": plain})


def _send(
    store: Store,
    registry: Registry,
    package: Handle,
    digest: str,
    tree: bytes,
    sizes: Mapping[str, int],
    progress: Progress,
) -> list[str]:
    """Send the blobs that the site lacks; which these were."""
    if registry.get_capabilities().plain:
        return _send_plain(store, registry, package, digest, tree, sizes, progress)
    return _send_missing(store, registry, package, sizes, progress)


def _send_missing(
    store: Store, registry: Registry, package: Handle, sizes: Mapping[str, int], progress: Progress
) -> list[str]:
    missing = registry.list_missing(sizes, package)
    if not missing:
        return []
    limits = registry.get_capabilities()
    progress.start("push", sum(sizes[digest] for digest in missing))
    small = [(digest, sizes[digest]) for digest in missing if sizes[digest] <= limits.packed_blob_bytes]
    large = [digest for digest in missing if sizes[digest] > limits.packed_blob_bytes]
    packs = group_records(small, limits.pack_bytes)
    with ThreadPoolExecutor(PACK_WORKERS) as pool:
        _finish(
            pool,
            [
                *(pool.submit(_send_pack, store, registry, package, pack, progress) for pack in packs),
                *(
                    pool.submit(_upload, store, registry, digest, sizes[digest], missing[digest], progress)
                    for digest in large
                ),
            ],
        )
    return list(missing)


def _send_pack(
    store: Store, registry: Registry, package: Handle, pack: list[tuple[str, int]], progress: Progress
) -> None:
    try:
        registry.send_pack(PackBody(store, pack, progress.advance), package)
    except BadRequest as error:
        raise _explain_refusal(store, [digest for digest, _ in pack], error) from error


def _upload(store: Store, registry: Registry, digest: str, size: int, url: str, progress: Progress) -> None:
    try:
        # A stream of length 0 would be sent in chunks; some object stores refuse that.
        body = BlobBody(store, digest, size, progress.advance) if size else b""
        registry.http.open("PUT", url, signed=True, body=body).close()
    except BadRequest as error:
        raise _explain_refusal(store, [digest], error) from error


def _explain_refusal(store: Store, digests: Iterable[str], error: BadRequest) -> Exception:
    """A site refuses bytes that do not fit their digest; look whose fault that is."""
    for digest in digests:
        with store.get_blob_path(digest).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return BlobDamaged(
                    f"The file changed while it was sent: blob {digest[:12]} of the local store is damaged. "
                    "Run `pulsar verify`, then build or install again."
                )
    return error


def _send_plain(
    store: Store,
    registry: Registry,
    package: Handle,
    digest: str,
    tree: bytes,
    sizes: Mapping[str, int],
    progress: Progress,
) -> list[str]:
    """As Quilt's own client does it: ask for URLs, then HEAD and PUT for each blob."""
    answer = registry.put_package(package, digest, tree, sizes, dry_run=True)
    urls = answer.get("upload_urls")
    if not isinstance(urls, dict) or urls.keys() != sizes.keys():
        raise ProtocolError("The registry did not give an upload address for each blob.")
    progress.start("push", sum(sizes.values()))
    with ThreadPoolExecutor(PLAIN_WORKERS) as pool:
        jobs = [
            pool.submit(_upload_plain, store, registry, blob, size, urls[blob], progress)
            for blob, size in sizes.items()
        ]
        _finish(pool, jobs)
    return [blob for blob, job in zip(sizes, jobs, strict=True) if job.result()]


def _upload_plain(
    store: Store, registry: Registry, digest: str, size: int, urls: object, progress: Progress
) -> bool:
    if (
        not isinstance(urls, dict)
        or not isinstance(urls.get("head"), str)
        or not isinstance(urls.get("put"), str)
    ):
        raise ProtocolError("The registry did not give an upload address for each blob.")
    with registry.http.open(
        "HEAD", urls["head"], signed=True, allowed=frozenset({400, 403, 404})
    ) as response:
        if response.ok:
            progress.advance(size)
            return False
    _upload(store, registry, digest, size, urls["put"], progress)
    return True


def _finish(pool: ThreadPoolExecutor, jobs: Sequence[Future[T]]) -> None:
    """Wait for all; after the first failure, or Ctrl-C, nothing new is begun."""
    try:
        for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
            job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
