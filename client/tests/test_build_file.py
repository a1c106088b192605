import json
import os
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pulsar_client.build_file import make_identifier
from pulsar_client.errors import BuildError, NotInstalled, TableError
from pulsar_client.globs import find_files
from pulsar_client.handles import Handle
from pulsar_client.manifest import Group, get_top_digest, walk
from pulsar_client.yaml_input import parse_yaml

CSV = b"a,b\n1,x\n2,y\n"


@pytest.fixture
def build(client, make_tree):
    """Build from the text of a build file beside some files; returns the root of what was built."""

    def build(text, files=None, package="demo/x", **options):
        folder = make_tree({"build.yml": text.encode(), **(files or {})})
        client.build(package, folder / "build.yml", **options)
        handle = Handle("demo", package.split("/")[1])
        return client.store.get_tree(handle, client.store.get_latest(handle))

    return build


def list_paths(root):
    return ["/".join(path) for path, node in walk(root) if not isinstance(node, Group)]


def test_nodes_groups_and_transforms_are_as_in_quilt(build, client):
    root = build(
        """
        contents:
          flights: {file: data/f.csv}
          raw:
            transform: id
            again: {file: data/f.csv}
            deeper:
              table: {transform: CSV, file: data/f.csv}
              inherited: {file: data/f.csv}
          semi: {file: semi.ssv}
          notes: {file: notes.md}
          empty: {}
        """,
        {"data/f.csv": CSV, "semi.ssv": b"a;b\n1;x\n", "notes.md": b"hi"},
    )

    assert list_paths(root) == [
        "flights", "notes", "raw/again", "raw/deeper/inherited", "raw/deeper/table", "semi",
    ]  # fmt: skip
    assert root.children["empty"] == Group()
    kinds = {"/".join(path): node.metadata["q_ext"] for path, node in walk(root) if hasattr(node, "digests")}
    assert kinds["raw/again"] == kinds["raw/deeper/inherited"] == kinds["notes"] == "id"
    assert (kinds["raw/deeper/table"], kinds["semi"]) == ("csv", "ssv")
    assert root.children["flights"].metadata == {"q_ext": "csv", "q_path": "data/f.csv", "q_target": "pandas"}
    assert client.load("demo/x/semi").table().to_pydict() == {"a": [1], "b": ["x"]}
    assert client.load("demo/x/flights").digests == client.load("demo/x/raw/deeper/table").digests


def test_a_table_of_a_build_file_has_the_digest_of_one_without(build, client, make_tree):
    build("contents: {a: {file: a.csv}}", {"a.csv": CSV})
    client.build("demo/y", make_tree({"a.csv": CSV}, "other") / "a.csv")

    assert client.load("demo/x/a").digests == client.load("demo/y/a.csv").digests


def test_reserved_words_are_names_where_they_hold_a_file(build):
    root = build(
        """
        contents:
          file: {file: a.csv}
          kwargs: {file: a.csv, kwargs: {nrows: 1}}
          group:
            package: {file: a.csv}
            meta: {file: a.csv}
        """,
        {"a.csv": CSV},
    )

    assert list_paths(root) == ["file", "group/meta", "group/package", "kwargs"]


def test_kwargs_are_inherited_as_in_quilt(build, client):
    build(
        """
        contents:
          kwargs: {sep: ";", nrows: 1}
          plain: {file: a.txt, transform: csv}
          key_by_key: {file: a.txt, transform: csv, kwargs: {nrows: 2}}
          group:
            kwargs: {nrows: 2}
            replaced: {file: a.txt, transform: csv}
            raw: {file: a.txt}
        """,
        {"a.txt": b"a;b\n1;x\n2;y\n"},
    )

    package = client.load("demo/x")
    assert package["plain"].table().to_pydict() == {"a": [1], "b": ["x"]}
    assert package["key_by_key"].table().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert package["group/replaced"].table().to_pydict() == {"a;b": ["1;x", "2;y"]}
    assert package["group/raw"].path().read_bytes() == b"a;b\n1;x\n2;y\n"


def test_metadata_becomes_a_blob_that_the_top_digest_covers(build, client):
    text = "contents: {meta: top.json, g: {meta: m.json, a: {file: a.csv, meta: m.json}}}"
    files = {"a.csv": CSV, "m.json": b'{"b": "\xc3\xbc", "a": [1, null]}', "top.json": b"{}"}

    root = build(text, files)

    group = root.children["g"]
    assert root.metadata_digest != group.metadata_digest == group.children["a"].metadata_digest
    assert client.store.get_blob_path(group.metadata_digest).read_bytes() == rb'{"a":[1,null],"b":"\u00fc"}'
    assert client.verify("demo/x").checked == 3
    bare = build("contents: {g: {a: {file: a.csv}}}")
    assert get_top_digest(bare) != get_top_digest(root)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (b'{"_system": 1}', "_system"),
        (b"[1]", "JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_metadata_that_is_none_is_refused(build, client, meta, words):
    with pytest.raises(BuildError, match=rf"build\.yml: a: .*{words}"):
        build("contents: {a: {file: a.csv, meta: m.json}}", {"a.csv": CSV, "m.json": meta})
    assert client.store.list_packages() == []


def test_parts_of_other_packages_are_grafted(build, client, make_tree, tmp_path):
    client.build("demo/src", make_tree({"t.csv": CSV, "sub/n.txt": b"hi"}, "src"))

    root = build(
        "contents: {all: {package: demo/src}, one: {package: demo/src/sub/n.txt}, s/: {}}".replace("s/", "s")
    )

    assert list_paths(root) == ["all/sub/n.txt", "all/t.csv", "one"]
    assert root.children["one"].digests == client.load("demo/src/sub/n.txt").digests
    exported = client.export("demo/x", tmp_path / "out").files
    assert sorted(exported) == ["all/sub/n.txt", "all/t.csv", "n.txt"]
    assert "q_path" in client.load("demo/src/t.csv").system_metadata
    client.load("demo/src/t.csv").path().unlink()
    with pytest.raises(NotInstalled, match="install it first"):
        build("contents: {all: {package: demo/src}}")
    with pytest.raises(NotInstalled, match="no entry"):
        build("contents: {all: {package: demo/src/nothing}}")
    with pytest.raises(BuildError, match="names a team"):
        build("contents: {all: {package: 'acme:demo/src'}}")


def test_patterns_become_leaves_named_after_their_files(build):
    files = {
        "d/b-1.csv": CSV,
        "d/b 1.txt": b"t",
        "d/2.csv": CSV,
        "d/e/b_1.csv": CSV,
        ".h/x.csv": CSV,
        "class.csv": CSV,
    }

    root = build(
        """
        contents:
          flat: {"d/*.csv": }
          deep: {"**/*.csv": {transform: id}}
          both:
            "d/b*":
            "d/e/*":
          exact: {"d/[b]-?.csv": {kwargs: {nrows: 1}}}
        """,
        files,
    )

    assert list(root.children["flat"].children) == ["b_1", "n2"]
    assert list(root.children["deep"].children) == ["b_1", "b_1_2", "class_", "n2"]
    assert root.children["deep"].children["b_1"].metadata["q_ext"] == "id"
    assert [root.children["both"].children[n].metadata["q_ext"] for n in ("b_1", "b_1_2", "b_1_3")] == [
        "id",
        "csv",
        "csv",
    ]
    assert list(root.children["exact"].children) == ["b_1"]


def test_a_pattern_that_matches_nothing_is_a_warning(client, make_tree, capsys):
    said = []
    client._progress.say = said.append

    client.build("demo/x", make_tree({"build.yml": b'contents: {g: {"*.csv": }}'}) / "build.yml")

    assert said == ["build.yml: g: the pattern '*.csv' matches no file."]
    assert list(client.load("demo/x/g")) == []


def test_patterns_neither_leave_the_folder_nor_go_in_circles(make_tree):
    folder = make_tree({"in/a.csv": b"", "out.csv": b""}, "top")
    (folder / "in/loop").symlink_to(folder / "in")
    (folder / "in/up").symlink_to(folder)

    assert find_files(str(folder / "in"), "**/*.csv") == ["a.csv"]
    assert find_files(str(folder / "in"), "/".join(["**"] * 40 + ["*.csv"])) == ["a.csv"]
    for pattern in ("../*.csv", "/etc/*", "a/../../*"):
        with pytest.raises(BuildError, match="leads out"):
            find_files(str(folder / "in"), pattern)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contents: {a: {file: a.csv, package: demo/y}}", "A node must define only one of file or package"),
        ("contents: {a: }", "Leaf nodes must define either a file or package key"),
        ("contents: {a: {transform: csv}}", "Leaf nodes must define either a file or package key"),
        ("contents: {a: {file: a.csv, transform: hdf5}}", "Unknown transform 'hdf5' for a.csv"),
        ("contents: {a: b.csv}", "Invalid syntax: expected node data for 'a', got b.csv"),
        ("contents: {g: {a: [1]}}", r"Invalid syntax: expected node data for 'a', got \[1\]"),
        ("contents:\n  a: {file: a.csv}\n  a: {file: a.csv}", "line 3: Naming conflict: 'a'"),
        ("contents: {a: {file: a.csv}, '*.csv': }", "Naming conflict: 'a'"),
        ("contents: {a: {file: a.csv, fiel: x}}", "'fiel' has no meaning"),
        ("contents: {a: {package: demo/y, meta: m.json}}", "'meta' has no meaning"),
        ("contents: {a: {file: [a.csv]}}", "`file` must be a text"),
        ("contents: {a: {file: a.csv, kwargs: 5}}", "`kwargs` must be a mapping"),
        ("contents: {a: {file: a.csv, checks: nope}}", "Unknown check 'nope'"),
        ("contents: {a: {file: a.csv, checks: no}}", "`checks` must be names"),
        ("contents: {a: {file: a.csv, meta: {x: 1}}}", "`meta` must be the path"),
        ("contents: {'*.csv': {meta: m.json}}", "a pattern can only have"),
        ("contents: {a: {file: old.xls}}", r"\.xls cannot be read"),
        ("contents: {a: {file: folder}}", "is a folder"),
        ("contents: {a: {file: none.csv}}", "none.csv cannot be read"),
        ("contents: {a: {file: pipe}}", "neither a file nor a folder"),
        ('contents: {a: {file: "a\\0b"}}', "not the name of a file"),
        ("contents: {'a/b': {file: a.csv}}", "cannot be the name"),
        ("contents: {'..': {file: a.csv}}", "cannot be the name"),
        ("contents: {a: {file: a.csv, transform: id, kwargs: {sep: x}}}", "id takes none"),
        ("contents: {a: {file: a.csv, kwargs: {converters: x}}}", "'converters' is not understood"),
        ("contents: [a]", "needs `contents`"),
        ("", "needs `contents`"),
        ("contents: {}\nextra: 1", "'extra' is not known"),
        ("contents: {}\nchecks: [1]", "`checks` must be a mapping"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(build, client, tmp_path, text, words):
    (tmp_path / "data/folder").mkdir(parents=True)
    os.mkfifo(tmp_path / "data/pipe")

    with pytest.raises(BuildError, match=words):
        build(text, {"a.csv": CSV, "old.xls": b"x"})
    assert client.store.list_packages() == []


def test_files_outside_of_the_folder_need_permission(build, client, tmp_path, make_tree):
    secret = make_tree({"secret.txt": b"secret"}, "private") / "secret.txt"
    data = make_tree({"a.csv": CSV})
    (data / "link").symlink_to(secret)
    (data / "dir").symlink_to(secret.parent)
    ways = ["../private/secret.txt", str(secret), "link", "dir/secret.txt", "/etc/passwd"]
    for way in ways:
        for text in (
            f"contents: {{a: {{file: '{way}'}}}}",
            f"contents: {{a: {{file: a.csv, meta: '{way}'}}}}",
        ):
            with pytest.raises(BuildError, match="not in the folder of the build file"):
                build(text)

    build("contents: {g: {a: {file: ../private/secret.txt}}}", outside=True)

    assert client.load("demo/x/g/a").path().read_bytes() == b"secret"
    assert client.export("demo/x", tmp_path / "out").files == ["g/a"]


def test_a_link_within_the_folder_is_followed(build, client, make_tree):
    folder = make_tree({"real/a.csv": CSV})
    (folder / "link.csv").symlink_to(folder / "real/a.csv")

    build("contents: {a: {file: link.csv}}")

    assert client.load("demo/x/a").table().num_rows == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]", "no anchor 'a' before"),
        ("a: *b", "no anchor 'b' before"),
        ("{{a: 1}: 2}", "key must be a text"),
        ("{[a]: 2}", "key must be a text"),
        ("!!python/object/apply:os.system [id]", "not allowed"),
        ("!!python/name:os.system ''", "not allowed"),
        ("!!binary aGk=", "not allowed"),
        ("!!int x", "not of the kind int"),
        ("a: " + "1:" * 5000 + "1", "not of the kind int"),
        ("a: 1\n---\nb: 2", "one document"),
        ("a: [1", "not YAML"),
        ("a: \x07", "not YAML"),
        ("<<: 5", "only mappings can be merged"),
        ("[" * 200, "deeper than"),
    ],
)  # fmt: skip
def test_yaml_that_is_not_plain_is_refused_with_its_line(text, words):
    with pytest.raises(BuildError, match=words):
        parse_yaml(text, "x.yml")


def test_aliases_may_share_but_not_explode():
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    start = time.process_time()
    with pytest.raises(BuildError, match="counting what aliases stand for"):
        parse_yaml(bomb, "x.yml")
    assert time.process_time() - start < 5  # Not a measure: it would never end.

    shared = "base: &b {sep: ';', nrows: 1}\na: *b\nc: {<<: *b, nrows: 2}\nd: {<<: [*b, {x: 1}]}"
    assert parse_yaml(shared, "x.yml") == {
        "base": {"sep": ";", "nrows": 1},
        "a": {"sep": ";", "nrows": 1},
        "c": {"sep": ";", "nrows": 2},
        "d": {"sep": ";", "nrows": 1, "x": 1},
    }


def test_names_stay_as_they_are_written():
    assert parse_yaml("{2013: 1, no: yes, 1.0: ~, 2020-01-01: 2020-01-02, a: 0x10, b: '1'}", "x.yml") == {
        "2013": 1, "no": True, "1.0": None, "2020-01-01": "2020-01-02", "a": 16, "b": "1",
    }  # fmt: skip


def test_names_may_be_any_text(build, client):
    root = build(
        "contents: {2013: {no: {file: a.csv}}, 'S06 -1': {file: a.csv}, 'a*b': {file: a.csv}}", {"a.csv": CSV}
    )

    assert list_paths(root) == ["2013/no", "S06 -1", "a*b"]


def test_a_file_used_twice_can_be_exported(build, client, tmp_path):
    build("contents: {a: {file: a.csv}, b: {file: a.csv, transform: id}}", {"a.csv": CSV})

    assert sorted(client.export("demo/x", tmp_path / "out").files) == ["a.csv", "b"]
    assert (tmp_path / "out/b").read_bytes() == CSV


def test_a_folder_with_a_build_file_is_not_built_around_it(client, make_tree):
    folder = make_tree({"build.yml": b"contents: {}", "a.csv": CSV})

    with pytest.raises(BuildError, match=r"has a build\.yml"):
        client.build("demo/x", folder)
    client.build("demo/x", folder, raw=True)
    assert list(client.load("demo/x")) == ["a.csv", "build.yml"]


def test_a_part_of_the_latest_revision_is_replaced(client, make_tree, build):
    folder = make_tree({"old/a.csv": CSV, "keep.txt": b"k", "new.csv": b"z\n1\n", "more/b.txt": b"b"}, "src")
    with pytest.raises(NotInstalled):
        client.build("demo/x/old", folder / "more")
    client.build("demo/x", [folder / "old", folder / "keep.txt"])

    client.build("demo/x/old/a.csv", folder / "new.csv")
    client.build("demo/x/added", folder / "more")

    assert client.load("demo/x/old/a.csv").table().to_pydict() == {"z": [1]}
    assert client.load("demo/x/old/a.csv").system_metadata["q_path"] == "old/a.csv"
    assert client.load("demo/x/added/b.txt").system_metadata["q_path"] == "added/b.txt"
    assert list(client.load("demo/x")) == ["added", "keep.txt", "old"]
    build("contents: {n: {file: a.csv}}", {"a.csv": CSV}, package="demo/x/old")
    assert list(client.load("demo/x/old")) == ["n"]


def test_unchanged_files_are_not_converted_again(build, client, make_tree):
    one = "{file: a.csv, kwargs: {nrows: 1}}"
    text = f"contents: {{a: {{file: a.csv}}, b: {one}, c: {one}}}"
    folder = make_tree({"a.csv": CSV, "build.yml": text.encode()})
    time_ns = 1_600_000_000_123_456_789
    os.utime(folder / "a.csv", ns=(time_ns, time_ns))
    while time.time_ns() < (folder / "a.csv").stat().st_ctime_ns + 30_000_000:
        pass

    first = client.build("demo/x", folder / "build.yml")
    second = client.build("demo/x", folder / "build.yml")

    assert (first.new, second.new) == (3, 0)
    assert first.digest == second.digest
    assert (
        client.load("demo/x/b").digests == client.load("demo/x/c").digests != client.load("demo/x/a").digests
    )


def test_a_bad_table_is_named_and_nothing_changes(build, client):
    with pytest.raises(TableError, match=r"a\.csv, line 3"):
        build("contents: {a: {file: a.csv}}", {"a.csv": b"a,b\n1,2\n3\n"})
    assert client.store.list_packages() == []


def test_a_parquet_file_is_a_table_and_any_file_can_be_raw(build, client, make_tree):
    folder = make_tree({"x": b""})
    pq.write_table(pa.table({"v": [1]}), folder / "data.pq")

    build("contents: {t: {file: data.pq, transform: PARQUET}, r: {file: data.pq, transform: id}}")

    assert client.load("demo/x/t").table().to_pydict() == {"v": [1]}
    assert not client.load("demo/x/r").is_table
    assert (
        json.dumps(client.load("demo/x/r").system_metadata)
        == '{"q_ext": "id", "q_path": "r", "q_target": "file"}'
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [("a b", "a_b"), ("_x_", "x"), ("1a", "n1a"), ("日本", ""), ("class", "class_"), ("é.é", "")],
)
def test_identifiers_are_made_as_quilt_makes_them(text, name):
    assert make_identifier(text) == name
