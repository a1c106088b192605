"""Blobs as objects of an S3-compatible store.

    <prefix>/sha256/<2 hex>/<62 hex>    a blob
    <prefix>/packs/<2 hex>/<30 hex>     many small blobs, one behind the other
    <prefix>/tmp/<random>               a large upload whose digest was not announced, before it is copied

Up to one part an upload waits in memory and is one request; a larger one is a multipart upload, which is
visible to nobody until it is completed. The checks of the store itself are not relied upon (not every product
makes them): bytes are hashed here while they are forwarded, and completed only if they are right.
"""

import io
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import NoSpace, NotFound, Unavailable
from core.storage.backends import (
    Expected,
    Found,
    Source,
    Staged,
    StagedBlob,
    StagedPack,
    key_of,
    new_pack_name,
    receive,
)
from core.storage.digests import Digests
from core.storage.disposition import content_disposition
from core.storage.multipart import MAX_PARTS, Upload

__all__ = ["S3", "connect"]

log = logging.getLogger(__name__)

PART_BYTES = 8 * 2**20
COPY_BYTES = 5 * 10**9  # S3 copies no more than this in one request
_THREADS = 16  # small objects that are sent at the same time: a request waits more than it works
_GONE = {"NoSuchKey", "NoSuchUpload", "404", "NotFound"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}


def connect(*, endpoint: str = "", region: str = "", access_key: str = "", secret_key: str = "") -> Any:
    """A client for :class:`S3`. What is empty, boto3 finds in its own way."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=region or None,
        aws_access_key_id=access_key or None,
        aws_secret_access_key=secret_key or None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint else "auto"},
            # boto3 would add checksums of its own kind, which other products do not know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=2 * _THREADS,
        ),
    )


class S3:
    """The back end that keeps blobs as objects. Safe for threads.

    :param client: made by :func:`connect`.
    :param bucket: must exist.
    :param prefix: of all keys, without slashes at its ends; may be empty.
    :param part: bytes of a part; S3 wants at least 5 MiB.
    :param copy: bytes that are copied in one request; more are copied in parts of so many.
    """

    many = 500  # some seconds of requests, sixteen at a time

    def __init__(
        self, client: Any, bucket: str, prefix: str = "", part: int = PART_BYTES, copy: int = COPY_BYTES
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.part = part
        self.copy = copy
        self._prefix = f"{prefix}/" if prefix else ""

    def stage(self, source: Source, expected: Expected) -> StagedBlob:
        """See :class:`~core.storage.backends.Backend`.

        Memory: two parts. A part is 8 MiB; larger if the size is announced and 10,000 of them would not do.
        """
        part = max(self.part, -(-(expected.size or 0) // MAX_PARTS))
        upload = Upload(self, self._key(expected.sha256) if expected.sha256 else self._temporary_key(), part)
        try:
            digests = receive(source, expected, upload.write)
            upload.finish()
        except BaseException:
            upload.abort()
            raise
        return _StagedObject(digests, upload)

    def stage_pack(self) -> StagedPack:
        name = new_pack_name()
        return _PackObject(name, Upload(self, self._key(name), self.part))

    def settle(self, staged: Sequence[Staged]) -> None:
        """Nothing to do: S3 answers a part when it keeps it."""

    def place(self, staged: Sequence[Staged]) -> None:
        objects = [cast(_StagedObject | _PackObject, one) for one in staged]
        if len(objects) == 1:
            self._place(objects[0])
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._place, objects))

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        if stop is not None and stop <= start:
            return io.BytesIO()
        asked = (
            {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
            if start or stop is not None
            else {}
        )
        with _answering(name):
            answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name), **asked)
        return cast(BinaryIO, _Download(answer["Body"]))

    def size(self, name: str) -> int | None:
        try:
            with _answering(name):
                answer = self.client.head_object(Bucket=self.bucket, Key=self._key(name))
        except NotFound:
            return None
        return int(answer["ContentLength"])

    def delete(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), 1000):
            self._delete_keys([self._key(name) for name in names[first : first + 1000]])

    def download_url(self, digest: str, *, name: str, media_type: str, life: int) -> str | None:
        wanted = {"Bucket": self.bucket, "Key": self._key(digest), "ResponseContentType": media_type}
        if name:
            wanted["ResponseContentDisposition"] = content_disposition(name)
        with _answering(digest):
            return str(
                self.client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=max(1, life))
            )

    def local_path(self, digest: str) -> Path | None:
        return None

    def iter_found(self) -> Iterator[Found]:
        return self._iter_objects("sha256/", 64)

    def iter_packs(self) -> Iterator[Found]:
        return self._iter_objects("packs/", 32)

    def free_bytes(self) -> int | None:
        return None

    def check(self) -> None:
        try:
            with _answering(self.bucket):
                self.client.head_bucket(Bucket=self.bucket)
        except NotFound:
            raise _unavailable() from None

    def sweep_temporary(self, before: datetime, *, dry_run: bool = False) -> int:
        old = [item["Key"] for item in self._list("tmp/") if item["LastModified"] < before]
        uploads = [item for item in self._list_uploads() if item["Initiated"] < before]
        if not dry_run:
            self._delete_keys(old)
            for item in uploads:
                self.abort_upload(item["Key"], item["UploadId"])
        return len(old) + len(uploads)

    def call(self, operation: str, key: str, **more: Any) -> Any:
        """One request about the object ``key``, its refusals turned into errors of the site."""
        with _answering(key):
            return getattr(self.client, operation)(Bucket=self.bucket, Key=key, **more)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give a multipart upload up. What cannot be reached now, the sweep finds later."""
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except (ClientError, BotoCoreError) as exc:
            log.warning("a multipart upload was not aborted: %s", exc)

    def delete_quietly(self, key: str) -> None:
        """Remove an object that nobody knows of. What cannot be reached now, the sweep finds later."""
        try:
            self.client.delete_object(Bucket=self.bucket, Key=key)
        except (ClientError, BotoCoreError) as exc:
            log.warning("an object that is not needed was not deleted: %s", exc)

    def _place(self, staged: "_StagedObject | _PackObject") -> None:
        target, upload = self._key(staged.name), staged.upload
        staged.placed()
        if not upload.id:
            self.call("put_object", target, Body=bytes(upload.buffer))
            return
        self.call(
            "complete_multipart_upload",
            upload.key,
            UploadId=upload.id,
            MultipartUpload={"Parts": upload.parts},
        )
        upload.id = ""
        if upload.key != target:
            self._copy(upload.key, target, cast(_StagedObject, staged).digests.size)
            self.delete_quietly(upload.key)

    def _copy(self, key: str, target: str, size: int) -> None:
        source = {"Bucket": self.bucket, "Key": key}
        if size <= self.copy:
            self.call("copy_object", target, CopySource=source)
            return
        copy = Upload(self, target, self.copy)
        try:
            copy.begin()
            for start in range(0, size, self.copy):
                copy.add_copy(source, start, min(start + self.copy, size) - 1)
            self.call(
                "complete_multipart_upload", target, UploadId=copy.id, MultipartUpload={"Parts": copy.parts}
            )
        except BaseException:
            copy.abort()
            raise

    def _iter_objects(self, folder: str, length: int) -> Iterator[Found]:
        for item in self._list(folder):
            name = item["Key"].removeprefix(self._prefix + folder).replace("/", "")
            if len(name) == length:
                yield Found(name, item["Size"], item["LastModified"])

    def _key(self, name: str) -> str:
        return self._prefix + key_of(name)

    def _temporary_key(self) -> str:
        return f"{self._prefix}tmp/{secrets.token_hex(16)}"

    def _list(self, folder: str) -> Iterator[dict[str, Any]]:
        with _answering(folder):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + folder):
                yield from page.get("Contents", ())

    def _list_uploads(self) -> list[dict[str, Any]]:
        with _answering("uploads"):
            pages = self.client.get_paginator("list_multipart_uploads")
            found = pages.paginate(Bucket=self.bucket, Prefix=self._prefix)
            return [item for page in found for item in page.get("Uploads", ())]

    def _delete_keys(self, keys: Sequence[str]) -> None:
        if keys:
            with _answering("keys"):
                wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
                answer = self.client.delete_objects(Bucket=self.bucket, Delete=wanted)
            if answer.get("Errors"):
                log.error("S3 did not delete: %s", answer["Errors"][:3])
                raise Unavailable


class _StagedObject(StagedBlob):
    """Bytes in memory, or a multipart upload with all its parts."""

    def __init__(self, digests: Digests, upload: Upload) -> None:
        super().__init__(digests)
        self.upload = upload

    def placed(self) -> None:
        """It is there for whoever has the digest."""

    def discard(self) -> None:
        self.upload.abort()


class _PackObject(StagedPack):
    """The same of a pack, and then the object."""

    def __init__(self, name: str, upload: Upload) -> None:
        self.name = name
        self.upload = upload
        self._placed = False

    def write(self, data: bytes) -> None:
        self.upload.write(data)

    def finish(self) -> None:
        self.upload.finish()

    def placed(self) -> None:
        """It is ours alone until a row names it."""
        self._placed = True

    def discard(self) -> None:
        self.upload.abort()
        if self._placed:
            self.upload.store.delete_quietly(self.upload.key)
            self._placed = False


class _Download(io.RawIOBase):
    """The body of an answer. What the network says while it is read is an ``OSError``, as with a file."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()

    def _read(self, size: int) -> bytes:
        read: Callable[[int], bytes] = self._body.read
        try:
            return read(size)
        except BotoCoreError as exc:
            raise OSError(str(exc)) from exc


@contextmanager
def _answering(key: str) -> Iterator[None]:
    """Turn what S3 says into an error of the site, which names no bucket."""
    try:
        yield
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise NotFound.of("Blob", key) from exc
        log.error("S3 refused: %s", exc)
        raise (NoSpace() if code in _FULL else _unavailable()) from exc
    except BotoCoreError as exc:
        log.error("S3 does not answer: %s", exc)
        raise _unavailable() from exc


def _unavailable() -> Unavailable:
    return Unavailable("Files cannot be stored or read at the moment.")
