"""Nodes as a notebook, pandas and Polars see them."""

import sys

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pulsar_client.errors import ConfigurationError, NotInstalled, StoreError
from pulsar_client.handles import Handle
from pulsar_client.manifest import Group, Leaf

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def built(client, make_tree):
    folder = make_tree(
        {
            "m/1.csv": b"a,b\n1,x\n",
            "m/2.csv": b"a,c\n1.5,2020-01-01\n",
            "m/sub/3.csv": b"a\n9\n",
            "m/note.txt": b"n" * 2048,
            "bad/1.csv": b"a\n1\n",
            "bad/2.csv": b"a\nx\n",
            "meta.json": b'{"who": "me", "n": [1, null]}',
            "build.yml": b"""
contents:
  meta: meta.json
  g: {a: {file: m/1.csv, meta: meta.json}}
""",
        }
    )
    client.build("demo/x", [folder / "m", folder / "bad"])
    client.build("demo/meta", folder / "build.yml")
    return client


def test_the_tables_of_a_group_are_one_table(built):
    group = built.load("demo/x/m")

    assert [str(leaf) for leaf in group.list_tables()] == [
        "<LeafNode demo/x/m/1.csv: table>",
        "<LeafNode demo/x/m/2.csv: table>",
    ]
    assert group.table().schema.names == ["a", "b", "c"]
    assert group.table().to_pydict()["a"] == [1.0, 1.5]
    assert group.table().to_pydict()["b"] == ["x", None]
    assert group.pandas()["a"].sum() == 2.5
    assert group.polars()["a"].to_list() == [1.0, 1.5]
    assert group.dataset().count_rows() == 2


def test_tables_that_do_not_go_together_and_groups_without_any_are_named(built):
    with pytest.raises(StoreError, match="do not go together"):
        built.load("demo/x/bad").table()
    with pytest.raises(StoreError, match="no table directly in demo/x"):
        built.load("demo/x").table()


def test_a_table_comes_as_polars(built):
    frame = built.load("demo/x/m/1.csv").polars()

    assert isinstance(frame, polars.DataFrame)
    assert frame.to_dict(as_series=False) == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_library_that_is_not_there_is_named(built, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ConfigurationError, match=f"{name} is not installed"):
        getattr(built.load("demo/x/m/1.csv"), name)()


def test_metadata_is_what_its_authors_gave(built, client):
    package = built.load("demo/meta")
    given = {"who": "me", "n": [1, None]}

    assert package.metadata == package["g/a"].metadata == given
    assert package["g"].metadata == {}
    assert package["g/a"].system_metadata == {"q_ext": "csv", "q_path": "m/1.csv", "q_target": "pandas"}
    digest = client.store.get_tree(
        Handle("demo", "meta"), client.store.get_latest(Handle("demo", "meta"))
    ).metadata_digest
    path = client.store.get_blob_path(digest)
    path.chmod(0o644)
    for data in (b"[1]", b"{", b"\xff", b"[" * 100_000, b" " * (11 << 20)):
        path.write_bytes(data)
        with pytest.raises(StoreError, match="The metadata of demo/meta is"):
            _ = package.metadata
    path.unlink()
    with pytest.raises(NotInstalled):
        _ = package.metadata


def test_a_notebook_shows_what_is_there(built):
    html = built.load("demo/x/m")._repr_html_()
    assert "<b>demo/x/m</b>: 4 entries" in html
    assert "<td>1.csv</td><td>table</td>" in html
    assert "<td>sub</td><td>group</td>" in html

    html = built.load("demo/x/m/1.csv")._repr_html_()
    assert "table, 1 rows, 2 columns" in html
    assert "<th>a (int64)</th><th>b (string)</th>" in html
    assert "<td>1</td><td>x</td>" in html

    note = built.load("demo/x/m/note.txt")
    assert note._repr_html_() == "<p><b>demo/x/m/note.txt</b>: file, 2.0 kB</p>"
    note.path().unlink()
    assert "not installed" in note._repr_html_()
    built.load("demo/x/m/1.csv").path().unlink()
    assert "not installed" in built.load("demo/x/m/1.csv")._repr_html_()


def test_nothing_that_a_stranger_wrote_reaches_a_notebook_as_html(client, make_tree):
    folder = make_tree({"x": b""})
    pq.write_table(pa.table({EVIL: [EVIL, None]}), folder / "t.parquet")
    client.build("demo/x", folder / "t.parquet")
    leaf = Leaf(client.load("demo/x/t.parquet").digests, {"q_target": "pandas"})
    named = Leaf(leaf.digests, {"q_target": "file"})
    client.store.put_revision(
        Handle("demo", "x"), Group({EVIL.replace("/", ""): leaf, "f" + EVIL.replace("/", ""): named})
    )
    package = client.load("demo/x")

    texts = [package._repr_html_(), *(node._repr_html_() for _, node in package.items())]

    assert all("&lt;script&gt;" in text for text in texts)
    assert not any("<script" in text for text in texts)


def test_a_notebook_shows_only_so_much(client, make_tree):
    names = ",".join(f"c{number}" for number in range(30))
    folder = make_tree({f"{number:03}.csv": f"{names}\n".encode() for number in range(105)})
    (folder / "000.csv").write_text(f"{names}\n" + (",".join(["y" * 500] * 30) + "\n") * 50)
    client.build("demo/x", folder)

    assert "and 5 more" in client.load("demo/x")._repr_html_()
    html = client.load("demo/x/000.csv")._repr_html_()
    assert html.count("<tr>") == 11
    assert "and 10 more columns" in html
    assert "y" * 101 not in html
    assert "0 rows, 30 columns" in client.load("demo/x/001.csv")._repr_html_()
