"""Carts: lists of files that the site brings together, fetched as one tar.

A tar is fetched in parts, several at a time. What has arrived is written down beside it, so that a download
goes on where it was, in whatever order its parts came; and every file in it is hashed and held against the
list of the site before it gets its name.
"""

import hashlib
import json
import os
import tarfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import requests

from pulsar_client.errors import (
    ConfigurationError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    ProtocolError,
    SiteError,
    make_site_error,
)
from pulsar_client.files import hold_part, require_space, write_atomically
from pulsar_client.http import Http
from pulsar_client.progress import Progress

__all__ = ["CartChecked", "CartFetched", "Carts"]

PART_BYTES = 16 << 20  # asked for with one request; the most that a broken connection costs
WORKERS = 4  # requests at a time; more bring nothing where a disk or one line is the limit
ATTEMPTS = 5  # for a part, each of which may take many requests of its own while the site is busy
PIECE_BYTES = 1 << 20
WAIT = 30  # s that the site holds an answer back when we wait for a cart
UNFINISHED = {"waiting", "staging"}


@dataclass(frozen=True, slots=True)
class CartFetched:
    """A tar that is here."""

    uid: str
    path: str
    size: int  # B
    fetched_bytes: int  # in this run
    files: int
    unverified: list[str]  # paths of which the site knows no digest; their sizes are right


@dataclass(frozen=True, slots=True)
class CartChecked:
    """What became of the files of a cart that were fetched before."""

    uid: str
    files: int
    damaged: list[str]
    missing: list[str]
    unverified: list[str]

    @property
    def ok(self) -> bool:
        return not self.damaged and not self.missing


class Carts:
    """The calls for carts, each of one's own."""

    def __init__(self, http: Callable[[], Http], progress: Progress) -> None:
        self._http = http
        self._progress = progress

    def create(self, document: Mapping[str, Any] | Sequence[Any], uid: str | None = None) -> str:
        """Make a cart of a document, or of the list of its files; returns its id.

        :param uid: the id; by default one that nobody has.
        """
        name = uid or str(uuid.uuid4())
        body = json.dumps(document if isinstance(document, Mapping) else {"fileids": list(document)}).encode()
        self._http().get_json("POST", _path(name), body=body, headers={"Content-Type": "application/json"})
        return name

    def status(self, uid: str, *, wait: bool = False) -> dict[str, Any]:
        """What the cart is.

        :param wait: until it is ready or has failed.
        """
        asked, told = "0", ""
        while True:
            found = self._http().get_json("GET", _path(uid, "status"), query={"wait": asked})
            if not isinstance(found, dict) or not isinstance(found.get("state"), str):
                raise ProtocolError("The site does not say what state the cart is in.")
            if not wait or found["state"] not in UNFINISHED:
                return found
            if (text := _describe_work(uid, found)) != told:
                self._progress.say(text)
            asked, told = str(WAIT), text

    def remove(self, uid: str) -> None:
        """Delete a cart. :raises NotFound: there is none."""
        try:
            self._http().get_json("DELETE", _path(uid))
        except NotFound as error:
            raise NotFound(f"There is no cart {uid}.", status=error.status, code=error.code) from error

    def fetch(self, uid: str, path: str | os.PathLike[str]) -> CartFetched:
        """Fetch a cart that is ready as a tar, and verify it. A download that was broken off goes on.

        A tar that is there is kept if it is that of this cart and every file in it is verified.

        :raises DigestMismatch: a file in it is not what the site has; the tar is thrown away.
        :raises ConnectionFailed: it broke too often; what came is kept for the next time.
        """
        target = Path(path)
        if target.is_dir():
            raise ConfigurationError(f"{target} is a folder; name a file for the tar.")
        remote = self._describe(uid, target.name)  # nothing is made here for a cart that there is not
        part = target.with_name(target.name + ".part")
        with hold_part(part):
            if (files := self._count_kept(uid, target, remote.size)) is not None:
                _forget(part)
                return CartFetched(uid, str(target), remote.size, 0, files, [])
            fetched = _Fetching(self._http(), remote, part, self._progress).run()
            try:
                files, unverified = self._check_tar(uid, part)
            except DigestMismatch:
                _forget(part)
                raise
            part.replace(target)
            _notes_of(part).unlink(missing_ok=True)
        return CartFetched(uid, str(target), remote.size, fetched, files, unverified)

    def _count_kept(self, uid: str, target: Path, size: int) -> int | None:
        """How many files the tar has that is there already, if it is whole and none of them is in doubt."""
        try:
            if target.stat().st_size != size:
                return None
            files, unverified = self._check_tar(uid, target)
        except (FileNotFoundError, DigestMismatch):
            return None
        return None if unverified else files

    def verify(self, uid: str, path: str | os.PathLike[str]) -> CartChecked:
        """Hold a folder into which a tar was unpacked against the site's list.

        :param path: the folder that holds the files of the cart.
        """
        root = Path(path)
        damaged, missing, unverified, count = [], [], [], 0
        with closing(self._iter_manifest(uid)) as lines:
            for line in lines:
                count += 1
                try:
                    with (root / line.path).open("rb") as file:
                        if not line.fits(file):
                            damaged.append(line.path)
                        elif not line.is_known:
                            unverified.append(line.path)
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    missing.append(line.path)
        return CartChecked(uid, count, damaged, missing, unverified)

    def _describe(self, uid: str, name: str) -> "_Remote":
        query = {"filename": name}
        with self._http().open("GET", _path(uid), query=query, headers={"Range": "bytes=0-0"}) as answer:
            if answer.status_code == 202:
                raise make_site_error(409, {"message": f"The cart {uid} is not ready.", "code": "not_ready"})
            unit, _, size = answer.headers.get("Content-Range", "").rpartition("/")
            etag = answer.headers.get("ETag", "")
            if answer.status_code != 206 or unit != "bytes 0-0" or not size.isdecimal() or not etag:
                raise ProtocolError("The site cannot send a part of the cart.")
        return _Remote(_path(uid), query, etag, int(size))

    def _check_tar(self, uid: str, path: Path) -> tuple[int, list[str]]:
        """Hold every file of a tar against the site's list, which has the same order."""
        self._progress.start("verifying", path.stat().st_size)
        try:
            with tarfile.open(path, "r:", encoding="utf-8") as tar:
                return self._check_members(uid, tar)
        except tarfile.TarError:
            raise DigestMismatch("The site did not send a tar.") from None

    def _check_members(self, uid: str, tar: tarfile.TarFile) -> tuple[int, list[str]]:
        unverified, count = [], 0
        with closing(self._iter_manifest(uid)) as lines:
            for member in tar:
                line = next(lines, None)
                name = member.name.partition("/")[2]
                content = tar.extractfile(member) if member.isreg() else None
                if line is None or content is None or line.path != name or not line.fits(content):
                    raise DigestMismatch(f"The site sent wrong bytes for {name!r} of the cart {uid}.")
                if not line.is_known:
                    unverified.append(name)
                count += 1
                self._progress.advance(member.size)
            if next(lines, None) is not None:
                raise DigestMismatch(f"The site did not send all files of the cart {uid}.")
        return count, unverified

    def _iter_manifest(self, uid: str) -> Generator["_Line", None, None]:
        with self._http().open("GET", _path(uid, "manifest")) as answer:
            try:
                for text in answer.iter_lines(PIECE_BYTES):
                    yield _Line.parse(text)
            except requests.RequestException as error:
                raise ConnectionFailed("The connection broke while the list was fetched.") from error

    def list(self) -> list[dict[str, Any]]:
        """One's own carts, newest first; a hundred at most."""
        found = self._http().get_json("GET", "/cart/", query={"limit": "100"})
        carts = found.get("carts") if isinstance(found, dict) else None
        if not isinstance(carts, list):
            raise ProtocolError("The site does not list carts.")
        return carts


@dataclass(frozen=True, slots=True)
class _Remote:
    """A tar as the site has it."""

    url: str
    query: Mapping[str, str]
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class _Line:
    """A file as the site's list has it."""

    path: str
    size: int
    algorithm: str
    digest: str

    @classmethod
    def parse(cls, text: bytes) -> "_Line":
        try:
            found = json.loads(text)
            path, size = found["path"], found["size"]
            sha256, other = found.get("sha256"), found.get("hashsum")
            algorithm, digest = ("sha256", sha256) if sha256 else (found.get("hashtype") or "", other or "")
            parts = path.split("/")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ProtocolError("The site's list of files cannot be read.") from None
        if not isinstance(size, int) or {"", ".", ".."} & set(parts) or "\0" in path:
            raise ProtocolError(f"The site's list has a file that cannot be: {path[:100]!r}.")
        return cls(path, size, str(algorithm), str(digest).lower())

    @property
    def is_known(self) -> bool:
        """Whether there is a digest that can be computed here."""
        return bool(self.digest) and self.algorithm in hashlib.algorithms_available

    def fits(self, file: IO[bytes]) -> bool:
        """Whether a file is this one, as far as that can be told."""
        hasher = hashlib.new(self.algorithm, usedforsecurity=False) if self.is_known else None
        size = 0
        while piece := file.read(PIECE_BYTES):
            size += len(piece)
            if hasher is not None:
                hasher.update(piece)
        return size == self.size and (hasher is None or hasher.hexdigest() == self.digest)


class _Fetching:
    """One download, in parts of which some are here already."""

    def __init__(self, http: Http, remote: _Remote, path: Path, progress: Progress) -> None:
        self._http = http
        self._remote = remote
        self._path = path
        self._progress = progress
        self._notes = _notes_of(path)
        self._lock = threading.Lock()
        self._done = self._find_done()
        self._fetched = 0

    def run(self) -> int:
        """Fetch what is not here; how many bytes that was."""
        remote = self._remote
        starts = [start for start in range(0, remote.size, PART_BYTES) if start not in self._done]
        require_space(self._path.parent, sum(map(self._length, starts)))
        self._progress.start("fetching", remote.size)
        self._progress.advance(remote.size - sum(self._length(start) for start in starts))
        with self._path.open("r+b") as file, ThreadPoolExecutor(WORKERS) as pool:
            file.truncate(remote.size)
            jobs = [pool.submit(self._fetch, file.fileno(), start) for start in starts]
            try:
                for job in jobs:
                    job.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            os.fsync(file.fileno())
        return self._fetched

    def _find_done(self) -> set[int]:
        """Where the parts begin that are here, if they are parts of the same tar.

        The file has the size of the tar from its first part on; another one is not that of the notes.
        """
        try:
            notes = json.loads(self._notes.read_text())
            is_same = (notes["etag"], notes["part"]) == (self._remote.etag, PART_BYTES)
            if is_same and self._path.stat().st_size == self._remote.size:
                return set(notes["done"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return set()

    def _length(self, start: int) -> int:
        return min(PART_BYTES, self._remote.size - start)

    def _fetch(self, descriptor: int, start: int) -> None:
        have = 0
        for attempt in range(ATTEMPTS):
            try:
                for piece in self._receive(start + have, start + self._length(start)):
                    os.pwrite(descriptor, piece, start + have)
                    have += len(piece)
                    self._progress.advance(len(piece))
                break
            except (ConnectionFailed, SiteError) as error:
                if attempt == ATTEMPTS - 1 or (isinstance(error, SiteError) and error.status < 500):
                    raise
        os.fdatasync(descriptor)  # what is noted as done has to be there after a crash
        with self._lock:
            self._fetched += have
            self._done.add(start)
            notes = {"etag": self._remote.etag, "part": PART_BYTES, "done": sorted(self._done)}
            write_atomically(self._notes, json.dumps(notes).encode())

    def _receive(self, start: int, stop: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-{stop - 1}", "If-Range": self._remote.etag}
        left = stop - start
        with self._http.open("GET", self._remote.url, query=self._remote.query, headers=headers) as answer:
            wanted = f"bytes {start}-{stop - 1}/{self._remote.size}"
            if answer.status_code != 206 or answer.headers.get("Content-Range") != wanted:
                raise ProtocolError("The cart has changed while it was fetched; fetch it again.")
            try:
                for piece in answer.iter_content(PIECE_BYTES):
                    left -= len(piece)
                    if left < 0:
                        raise ProtocolError("The site sent more than it was asked for.")
                    yield piece
            except requests.RequestException as error:
                raise ConnectionFailed("The connection broke while the cart was fetched.") from error
        if left:
            raise ConnectionFailed(f"The connection ended {left} bytes too early.")


def _notes_of(part: Path) -> Path:
    """Where it is written down what of an unfinished tar is here."""
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink()
    _notes_of(part).unlink(missing_ok=True)


def _describe_work(uid: str, found: Mapping[str, Any]) -> str:
    files = found.get("files")
    counts = files if isinstance(files, dict) else {}
    return f"The cart {uid} is {found['state']}: {counts.get('done')} of {counts.get('total')} files."


def _path(uid: str, what: str = "") -> str:
    return f"/cart/{quote(uid, safe='')}" + (f"/{what}" if what else "")
