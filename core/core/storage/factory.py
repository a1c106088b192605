"""The store and the links of one app, made from its settings when first needed."""

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from flask import Flask, current_app, has_request_context, request

from core.config import ConfigError
from core.storage.backends import Backend
from core.storage.folder import Folder
from core.storage.links import Links
from core.storage.store import BlobStore

__all__ = ["LinkMaker", "SiteStorage", "init_app", "links", "make_backend", "signer", "store"]

EXTENSION = "pulsar_storage"


class SiteStorage:
    """What one app knows of its blobs. Nothing is opened or connected before it is used."""

    def __init__(self, config: Mapping[str, Any], instance: Path) -> None:
        self._config = config
        self._instance = instance

    @cached_property
    def store(self) -> BlobStore:
        return BlobStore(make_backend(self._config, self._instance))

    @cached_property
    def signer(self) -> Links:
        return Links(self._config["SECRET_KEY"])


def init_app(app: Flask, instance: Path) -> None:
    """Give ``app`` its store.

    :raises ConfigError: if ``STORAGE_URL`` names neither a folder nor a bucket.
    """
    _split(app.config["STORAGE_URL"])
    app.extensions[EXTENSION] = SiteStorage(app.config, instance)


def store() -> BlobStore:
    """The store of the present app."""
    return _site().store


def signer() -> Links:
    """What signs the links of the present app."""
    return _site().signer


@dataclass(frozen=True, slots=True)
class LinkMaker:
    """Makes links that all end at the same time; get one for each answer from :func:`links`.

    :param base: address of the site, with a slash at its end.
    :param until: when the links end, seconds since 1970.
    """

    base: str
    until: int
    signer: Links

    def download(self, digest: str, *, name: str = "", media_type: str = "") -> str:
        """A URL that opens GET and HEAD of the blob.

        :param name: saved under this name; without one, a browser may show what it knows how to show.
        :param media_type: of the answer; by default ``application/octet-stream``.
        """
        return self.base + self.signer.download(digest, self.until, name=name, media_type=media_type)

    def upload(
        self,
        digest: str,
        size: int | None = None,
        user_id: int | None = None,
        *,
        max_bytes: int | None = None,
    ) -> str:
        """A URL that opens PUT of exactly these bytes, and HEAD: 200 once ``user_id`` has sent them.

        :param max_bytes: the most that is taken where the size is not known yet.
        """
        return self.base + self.signer.upload(
            digest, self.until, size=size, max_bytes=max_bytes, user_id=user_id
        )


def links(life: int | None = None) -> LinkMaker:
    """Links that are good for ``life`` seconds, by default ``STORAGE_LINK_LIFE``.

    The address is ``PUBLIC_URL``, or else the one the present request came to.
    """
    if life is None:
        life = current_app.config["STORAGE_LINK_LIFE"]
    base: str = current_app.config["PUBLIC_URL"] or (request.url_root if has_request_context() else "")
    if not base:
        raise RuntimeError("links that are made outside a request need the setting PUBLIC_URL")
    return LinkMaker(base.rstrip("/") + "/", int(time.time()) + cast(int, life), signer())


def make_backend(config: Mapping[str, Any], instance: Path) -> Backend:
    """The back end that ``STORAGE_URL`` names."""
    scheme, name = _split(config["STORAGE_URL"])
    if scheme == "file":
        return Folder(instance / name, config["STORAGE_RESERVE_BYTES"])
    # Imported only here: boto3 costs every start of the site and of each command a quarter of a second.
    s3 = importlib.import_module("core.storage.s3")
    bucket, _, prefix = name.partition("/")
    client = s3.connect(
        endpoint=config["STORAGE_S3_ENDPOINT"],
        region=config["STORAGE_S3_REGION"],
        access_key=config["STORAGE_S3_ACCESS_KEY"],
        secret_key=config["STORAGE_S3_SECRET_KEY"],
    )
    return cast(Backend, s3.S3(client, bucket, prefix.strip("/")))


def _split(url: str) -> tuple[str, str]:
    """``file:blobs``, ``/srv/blobs`` or ``s3://bucket/prefix`` in two: what it is, and which."""
    scheme, _, name = ("file", "", url) if url.startswith("/") else url.partition(":")
    if scheme == "file":
        name = "/" + name.lstrip("/") if name.startswith("//") else name
    elif scheme == "s3" and name.startswith("//"):
        name = name[2:]
    else:
        scheme = ""
    if not scheme or not name.strip("/"):
        raise ConfigError("configuration: STORAGE_URL is neither file:<folder> nor s3://<bucket>/<prefix>")
    return scheme, name


def _site() -> SiteStorage:
    return cast(SiteStorage, current_app.extensions[EXTENSION])
