"""What the site fetched itself goes as soon as nobody refers to it; what somebody sent has its grace."""

import pytest

from core.app import create_app
from core.config import ConfigError
from core.db import db
from core.storage import Blob, release
from core.storage import store as site_store
from core.storage.models import Pack


def here(*digests):
    db.session.rollback()
    return [db.session.get(Blob, digest) is not None for digest in digests]


def files(folder):
    return [path for path in folder.root.rglob("*") if path.is_file()]


def test_a_blob_that_nobody_refers_to_goes_at_once_with_its_file(store, folder, refer, forget):
    digest = store.put(b"fetched").digest
    refer(digest)
    assert release(folder, [digest]) == 0
    forget(digest)

    assert release(folder, [digest, "0" * 64]) == 7
    assert here(digest) == [False]
    assert files(folder) == []


def test_what_somebody_has_sent_is_left_to_the_sweep(store, folder):
    digest = store.put(b"sent", user_id=1).digest
    assert release(folder, [digest]) == 0
    assert here(digest) == [True]
    assert store.backend.open(digest).read() == b"sent"


def test_a_pack_goes_with_the_last_blob_in_it(store, folder):
    digests = [one.sha256 for one in store.put_many((None, None, b"%d" % n) for n in range(20))]
    release(folder, digests[:19])
    assert here(digests[18], digests[19]) == [False, True]
    assert len(files(folder)) == 1
    release(folder, digests[19:])
    assert files(folder) == []
    db.session.rollback()
    assert db.session.query(Pack).count() == 0


def test_the_volume_of_the_original_cart_is_where_blobs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("VOLUME_PATH", str(tmp_path / "volume"))
    (tmp_path / "config.py").write_text("SECRET_KEY = 'for this test'\n")
    with create_app(tmp_path, TESTING=True).app_context():
        assert site_store().backend.root == tmp_path / "volume"


def test_a_volume_that_is_no_whole_path_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("VOLUME_PATH", "volume")
    (tmp_path / "config.py").write_text("SECRET_KEY = 'for this test'\n")
    with pytest.raises(ConfigError, match="STORAGE_URL"):
        create_app(tmp_path, TESTING=True)
