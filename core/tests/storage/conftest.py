"""A folder and a real S3 server to keep blobs in, and a table that refers to them."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, delete, insert

from core.app import Pulsar
from core.db import db, exact
from core.storage import Backend, Blob, BlobStore
from core.storage.folder import Folder
from core.storage.s3 import S3, connect
from core.testing import wanted_databases

numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server that speaks the real protocol and keeps everything in memory."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str) -> Iterator[S3]:
    """An empty bucket; parts are small so that a test can have several."""
    client = connect(endpoint=s3_endpoint, region="us-east-1", access_key="key", secret_key="secret")
    bucket = f"bucket-{next(numbers)}"
    client.create_bucket(Bucket=bucket)
    yield S3(client, bucket, "some/prefix", part=5 * 2**20)
    client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "blobs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What S3 answers does not depend on the database: tests with it run on the first one alone."""
    first = wanted_databases(config)[0]

    def is_extra(item: pytest.Item) -> bool:
        chosen = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        return chosen.get("backend") == "s3" and chosen.get("database", first) != first

    config.hook.pytest_deselected(items=[item for item in items if is_extra(item)])
    items[:] = [item for item in items if not is_extra(item)]


@pytest.fixture(params=["folder", "s3"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every place for bytes, one after the other."""
    found: Backend = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(folder: Folder, clean_database: None) -> BlobStore:
    return BlobStore(folder)


@pytest.fixture
def photos(app: Pulsar, clean_database: None) -> Iterator[Table]:
    """A table that needs blobs, of a plugin that is switched off: no model of it is known."""
    db.session.rollback()
    table = Table(
        "photos",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("digest", exact(64), ForeignKey(Blob.__table__.c.digest), nullable=False),
    )
    table.create(db.engine)
    yield table
    db.session.rollback()
    table.drop(db.engine)


@pytest.fixture
def refer(photos: Table) -> Callable[[str], None]:
    """``refer(digest)``: from now on a photo needs the blob."""

    def make(digest: str) -> None:
        db.session.execute(insert(photos).values(digest=digest))
        db.session.commit()

    return make


@pytest.fixture
def forget(photos: Table) -> Callable[[str], None]:
    """``forget(digest)``: no photo needs it any more."""

    def remove(digest: str) -> None:
        db.session.execute(delete(photos).where(photos.c.digest == digest))
        db.session.commit()

    return remove


@pytest.fixture
def site_store(
    app: Pulsar, clean_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """``site_store(backend)``: the app uses this place for the length of the test."""
    storage = app.extensions["pulsar_storage"]

    def use(backend: Backend) -> BlobStore:
        storage.__dict__["store"] = BlobStore(backend)
        return storage.__dict__["store"]

    yield use
    storage.__dict__.pop("store", None)
