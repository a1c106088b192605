import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import pulsar_client
from pulsar_client.errors import NotInstalled, StoreError
from pulsar_client.handles import Handle
from pulsar_client.manifest import Group, Leaf
from pulsar_client.tables import make_convert_options, make_parse_options

FILES = {
    "flights.csv": b'a,b,t\n1,x,2020-01-01 10:00:00\n,"",\n',
    "sub/2013 january.tsv": b"a\tb\n1\tx\n",
    "notes.txt": b"hi",
    "notes.md": b"ho",
}


@pytest.fixture
def built(client, make_tree):
    folder = make_tree(FILES)
    pq.write_table(pa.table({"x": [1, 2]}), folder / "p.parquet")
    client.build("demo/x", folder)
    return client


def test_nodes_are_found_by_name_path_and_attribute(built):
    package = built.load("demo/x")

    assert list(package) == ["flights.csv", "notes.md", "notes.txt", "p.parquet", "sub"]
    assert len(package) == 5
    assert "sub/2013 january.tsv" in package
    assert "nothing" not in package
    assert [name for name, _ in package.items()] == list(package)
    assert package.flights.digests == package.flights_csv.digests == package["flights.csv"].digests
    assert package.sub["2013 january.tsv"].digests == built.load("demo/x/sub/2013 january.tsv").digests
    assert "flights" in dir(package)
    assert "notes" not in dir(package)


def test_what_is_not_there_is_said(built):
    package = built.load("demo/x")

    with pytest.raises(KeyError):
        package["nothing"]
    with pytest.raises(AttributeError, match="is not there"):
        _ = package.nothing
    with pytest.raises(AttributeError, match=r"'notes.md' or 'notes.txt'"):
        _ = package.notes
    with pytest.raises(NotInstalled, match="nothing"):
        built.load("demo/x/nothing")
    with pytest.raises(NotInstalled):
        built.load("demo/none")


def test_a_table_comes_as_arrow_pandas_and_dataset(built):
    node = built.load("demo/x/flights.csv")

    assert node.table().to_pydict()["a"] == [1, None]
    assert node.table().schema.field("t").type == pa.timestamp("s")
    assert node.pandas()["a"][0] == 1
    assert node.dataset().count_rows() == 2
    assert pq.read_table(node.path()).num_rows == 2
    assert node.system_metadata["q_ext"] == "csv"


def test_a_file_is_no_table(built):
    node = built.load("demo/x/notes.txt")

    assert node.path().read_bytes() == b"hi"
    with pytest.raises(StoreError, match="not a table"):
        node.table()


def test_nodes_say_what_they_are(built):
    assert repr(built.load("demo/x/sub")) == "<GroupNode demo/x/sub: 2013 january.tsv>"
    assert repr(built.load("demo/x/notes.md")) == "<LeafNode demo/x/notes.md: file>"
    assert repr(built.load("demo/x/p.parquet")) == "<LeafNode demo/x/p.parquet: table>"


def test_fragments_are_one_table(client, built):
    digest = built.load("demo/x/p.parquet").digests[0]
    client.store.put_revision(
        Handle("demo", "f"),
        Group({"t": Leaf((digest, digest), legacy_table=True), "none": Leaf((), None, None, True)}),
    )

    assert client.load("demo/f/t").table().to_pydict() == {"x": [1, 2, 1, 2]}
    assert client.load("demo/f/t").dataset().count_rows() == 4
    assert client.load("demo/f/none").table().shape == (0, 0)
    with pytest.raises(StoreError, match="2 blobs"):
        client.load("demo/f/t").path()


def test_load_uses_the_default_home(built, monkeypatch):
    monkeypatch.setenv("PULSAR_CLIENT_HOME", str(built.settings.home))

    assert list(pulsar_client.load("demo/x/sub")) == ["2013 january.tsv"]
    assert pulsar_client.Client is type(built)
    with pytest.raises(AttributeError):
        _ = pulsar_client.nothing


def test_export_writes_the_files_back(built, tmp_path):
    result = built.export("demo/x", tmp_path / "out")

    assert sorted(result.files) == [
        "flights.csv",
        "notes.md",
        "notes.txt",
        "p.parquet",
        "sub/2013 january.tsv",
    ]
    assert (tmp_path / "out/notes.txt").read_bytes() == b"hi"
    assert (tmp_path / "out/sub/2013 january.tsv").read_text() == '"a"\t"b"\n1\t"x"\n'
    assert (tmp_path / "out/p.parquet").read_bytes() == built.load("demo/x/p.parquet").path().read_bytes()
    again = pacsv.read_csv(
        tmp_path / "out/flights.csv",
        parse_options=make_parse_options(),
        convert_options=make_convert_options(),
    )
    assert again.equals(built.load("demo/x/flights.csv").table())


def test_export_as_parquet(built, tmp_path):
    built.export("demo/x", tmp_path / "out", parquet=True)

    assert pq.read_table(tmp_path / "out/flights.parquet").num_rows == 2
    assert not (tmp_path / "out/flights.csv").exists()


def test_an_empty_table_is_exported_as_an_empty_file(client, make_tree, tmp_path):
    client.build("demo/e", make_tree({"e.csv": b""}))

    client.export("demo/e", tmp_path / "out")

    assert (tmp_path / "out/e.csv").read_bytes() == b""


def test_a_part_is_exported(built, tmp_path):
    assert built.export("demo/x/sub", tmp_path / "out").files == ["sub/2013 january.tsv"]
    with pytest.raises(NotInstalled):
        built.export("demo/x/nothing", tmp_path / "out")


def test_files_in_the_way_stop_the_export_before_it_begins(built, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").write_text("mine")

    with pytest.raises(StoreError, match="both a file and a folder"):
        built.export("demo/x", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sub"]

    (tmp_path / "out/sub").unlink()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="--force"):
        built.export("demo/x", tmp_path / "out")
    assert (tmp_path / "out/notes.txt").read_text() == "mine"
    built.export("demo/x", tmp_path / "out", force=True)
    assert (tmp_path / "out/notes.txt").read_text() == "hi"


@pytest.mark.parametrize(
    "path",
    ["../evil", "/etc/passwd", "a/../../evil", "a\\..\\..\\evil", "C:\\evil", "a\0b", "a//b", ".", 5, ["a"]],
)
def test_a_hostile_path_is_refused(client, built, tmp_path, path):
    digest = built.load("demo/x/notes.txt").digests[0]
    client.store.put_revision(
        Handle("demo", "evil"), Group({"a": Leaf((digest,), {"q_path": path, "q_target": "file"})})
    )

    with pytest.raises(StoreError):
        client.export("demo/evil", tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "out").exists()


def test_two_entries_for_one_file_are_refused(client, built, tmp_path):
    digest = built.load("demo/x/notes.txt").digests[0]
    leaf = Leaf((digest,), {"q_path": "same", "q_target": "file"})
    client.store.put_revision(Handle("demo", "twice"), Group({"a": leaf, "b": leaf}))

    with pytest.raises(StoreError, match="Two entries"):
        client.export("demo/twice", tmp_path / "out")
