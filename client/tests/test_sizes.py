import pytest

from pulsar_client import errors, sizes
from pulsar_client.handles import parse_handle

PACKAGE = parse_handle("demo/x")


@pytest.fixture
def files(make_tree):
    return make_tree({"a": b"1", "b/c": b"22", "t.csv": b"x\n1\n"})


@pytest.fixture
def recall(client, files):
    """Asks for what a build has noted."""
    client.build(PACKAGE.package, files)
    digest = client.store.get_latest(PACKAGE)
    return lambda: sizes.recall(client.store, PACKAGE, digest)


def test_a_build_notes_the_sizes_of_all_blobs(client, recall):
    found = recall()

    assert found == {path.name: path.stat().st_size for path in client.store.blobs.iterdir()}
    assert len(found) == 3


def test_sizes_hold_until_a_blob_goes(client, recall):
    digest, *_ = recall()

    client.store.take_out_blob(digest)

    assert recall() is None
    with pytest.raises(errors.NotInstalled, match="1 of"):
        client.push(PACKAGE.package)


def test_sizes_hold_until_the_package_is_built_anew(client, recall, files):
    (files / "more.txt").write_text("more")
    client.build(PACKAGE.package, files)

    assert recall() is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sizes": []}'])
def test_a_damaged_note_is_no_note(client, recall, content):
    (note,) = client.store.cache.glob("sizes-*.json")
    note.write_text(content)

    assert recall() is None
