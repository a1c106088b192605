"""pulsar inspect: what is in a revision, here or on the site."""

import dataclasses
import hashlib
import json

import pytest

from pulsar_client.errors import ConfigurationError, NotFound, NotInstalled
from pulsar_client.handles import Handle

X = Handle("demo", "x")
NOTE = json.dumps({"unit": "kg\x1b", "by": "ann"}).encode()


@pytest.fixture
def digest(client, make_tree):
    """A revision on the site and here: a table, a file with metadata of the user, a folder."""
    tree = {"t.csv": b"a,b\n1,x\n2,y\n", "notes.txt": b"hello", "sub/u.csv": b"c\n1.5\n"}
    client.build("demo/x", make_tree(tree))
    temporary = client.store.make_temporary()
    temporary.write_bytes(NOTE)
    client.store.keep_blobs([(temporary, hashlib.sha256(NOTE).hexdigest())])
    root = client.store.get_tree(X, client.store.get_latest(X))
    root.children["notes.txt"].metadata_digest = hashlib.sha256(NOTE).hexdigest()
    found = client.store.put_revision(X, root)
    client.push("demo/x")
    return found


def by_path(found):
    return {entry.path: entry for entry in found.entries}


def test_a_local_revision_shows_kinds_sizes_shapes_and_metadata(client, digest):
    found = client.inspect("demo/x")
    assert (found.digest, found.local) == (digest, True)
    entries = by_path(found)
    assert list(entries) == ["", "notes.txt", "sub", "sub/u.csv", "t.csv"]
    assert [entry.kind for entry in entries.values()] == ["group", "file", "group", "table", "table"]
    assert entries["t.csv"].shape.rows == 2
    assert entries["t.csv"].shape.columns == [{"name": "a", "type": "int64"}, {"name": "b", "type": "string"}]
    assert entries["t.csv"].system["q_path"] == "t.csv"
    assert (entries["notes.txt"].size, entries["notes.txt"].metadata) == (5, json.loads(NOTE))
    assert entries["sub"].size == entries["sub/u.csv"].size
    assert all(entry.here for entry in entries.values())


def test_inspecting_asks_the_site_only_for_what_is_not_here(site, client, digest):
    site.requests.clear()
    assert client.inspect("demo/x", digest=digest[:8].upper()).local
    assert client.inspect("demo/x/sub").entries[0].path == "sub"
    assert site.requests == []


@pytest.mark.parametrize("choice", ["digest", "tag", "version"])
def test_a_revision_of_the_site_is_inspected_without_its_data(site, make_client, digest, choice):
    site.more.versions["demo/x"] = {"1.0": digest}
    other = make_client("other")
    found = other.inspect("demo/x", **{choice: {"digest": digest, "tag": "latest", "version": "1.0"}[choice]})
    entries = by_path(found)
    assert (found.digest, found.local) == (digest, False)
    assert (entries["notes.txt"].size, entries["notes.txt"].metadata) == (5, json.loads(NOTE))
    assert (entries["t.csv"].here, entries["t.csv"].shape) == (False, None)
    assert entries[""].size > 5
    assert [path.name for path in other.store.blobs.iterdir()] == [hashlib.sha256(NOTE).hexdigest()]
    assert other.list_local() == []


def test_of_a_single_table_of_the_site_rows_and_columns_are_asked_for(site, make_client, digest):
    site.features.append("statistics")
    columns = [{"name": "a", "type": "int64", "nulls": 0}]
    answer = {"state": "ready", "rows": 2, "fragments": [{"rows": 2, "columns": columns}]}
    call = f"GET /api/statistics/demo/x@{digest}/t.csv"
    site.more.answers[call] = (200, answer)
    (entry,) = make_client("other").inspect("demo/x/t.csv", tag="latest").entries
    assert dataclasses.asdict(entry.shape) == {"rows": 2, "columns": [{"name": "a", "type": "int64"}]}
    for waiting in ({"state": "waiting"}, {"rows": 2, "fragments": []}, {"rows": "2"}, [], None):
        site.more.answers[call] = (200, waiting)
        assert make_client("other").inspect("demo/x/t.csv", tag="latest").entries[0].shape is None


def test_what_is_not_there_is_said(client, make_client, digest):
    with pytest.raises(NotInstalled, match="install it first"):
        make_client("other").inspect("demo/x")
    with pytest.raises(NotInstalled, match="no entry"):
        client.inspect("demo/x/none")
    with pytest.raises(NotFound, match="no entry"):
        client.inspect("demo/x/none", tag="latest")
    with pytest.raises(ConfigurationError, match="name one"):
        client.inspect("demo/x", digest=digest, tag="latest")


def test_what_is_damaged_has_no_shape_and_no_metadata(client, digest):
    for blob, content in (
        (hashlib.sha256(NOTE).hexdigest(), b"{"),
        (client.load("demo/x/t.csv").digests[0], b"PAR1"),
    ):
        client.store.get_blob_path(blob).chmod(0o644)
        client.store.get_blob_path(blob).write_bytes(content)
    entries = by_path(client.inspect("demo/x"))
    assert (entries["t.csv"].shape, entries["notes.txt"].metadata) == (None, None)


def test_inspect_on_the_command_line(pulsar, digest):
    status, out, err = pulsar("inspect", "demo/x")
    assert (status, err) == (0, f"demo/x {digest[:12]}, here\n")
    assert [line.split()[0] for line in out.splitlines()] == ["/", "notes.txt", "sub/", "sub/u.csv", "t.csv"]
    assert "5 B" in out.splitlines()[1]
    assert '{"unit": "kg\\u001b", "by": "ann"}' in out.splitlines()[1]
    assert "2 x 2" in out.splitlines()[4]
    assert pulsar("inspect", "demo/x/t.csv")[1].splitlines()[1:] == ["", "a  int64", "b  string"]
    remote = pulsar("inspect", "demo/x", "-t", "latest", "--json")
    assert (remote[0], json.loads(remote[1])["local"], remote[2]) == (0, False, "")
