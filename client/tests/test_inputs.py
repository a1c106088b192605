"""Formats other than CSV, as a build file reads them."""

import contextlib
import datetime as dt
import io
import json
import zipfile

import openpyxl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from pulsar_client import arrow_files, frames, json_tables, rows, tables, workbooks
from pulsar_client.errors import StoreError, TableError
from pulsar_client.options import parse_options


@pytest.fixture
def convert(tmp_path):
    """The table that bytes become, by the function that converts a file."""

    def convert(data, run):
        source, target = tmp_path / "in.file", tmp_path / "out.parquet"
        source.write_bytes(data)
        target.unlink(missing_ok=True)
        try:
            run(source, target)
        except BaseException:
            assert not target.exists()
            raise
        return frames.read_table([target])

    return convert


def ignore(count):
    pass


# Workbooks


@pytest.fixture
def read_sheet(convert):
    def read_sheet(data, **kwargs):
        options = parse_options("xlsx", kwargs, "n")
        return convert(data, lambda source, target: workbooks.convert(source, options, target, ignore))

    return read_sheet


def make_book(*sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, lines in enumerate(sheets):
        sheet = book.create_sheet(f"s{number}")
        for line in lines:
            sheet.append(line)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_a_sheet_becomes_a_typed_table(read_sheet):
    day, noon = dt.datetime(2020, 1, 1), dt.time(12)  # noqa: DTZ001 - as Excel has it
    data = make_book(
        [
            ["int", "float", "text", "bool", "date", "time", "mixed", "none"],
            [1, 1, "x", True, day, noon, 1, None],
            [],
            [None, 2.5, "NA", False, day, None, "two", None],
            [3, "=1/0", "#N/A", None, None, None, True, None],
        ]
    )

    table = read_sheet(data)

    kinds = ["int64", "double", "string", "bool", "timestamp[us]", "time64[us]", "string", "null"]
    assert [str(kind) for kind in table.schema.types] == kinds
    assert table.to_pydict() == {
        "int": [1, None, 3], "float": [1.0, 2.5, None], "text": ["x", None, None],
        "bool": [True, False, None], "date": [day, day, None], "time": [noon, None, None],
        "mixed": ["1", "two", "true"], "none": [None] * 3,
    }  # fmt: skip


def test_the_words_for_sheets(read_sheet):
    data = make_book([["a"], [1]], [["note"], ["x", "y", "z"], [1, 2, -1], [3, 4, 5]])

    assert read_sheet(data).to_pydict() == {"a": [1]}
    assert read_sheet(data, sheet_name="s1", skiprows=1, nrows=1).to_pydict() == {
        "x": [1],
        "y": [2],
        "z": [-1],
    }
    assert read_sheet(data, sheet_name=1, header=1, usecols=["z", "x"]).to_pydict() == {
        "x": [1, 3],
        "z": [-1, 5],
    }
    table = read_sheet(data, sheet_name=1, skiprows=2, header=None, na_values=[-1], dtype={"0": "str"})
    assert table.to_pydict() == {"0": ["1", "3"], "1": [2, 4], "2": [None, 5]}
    table = read_sheet(data, sheet_name=1, header=1, names=["p", "q", "r"], usecols=[1])
    assert table.to_pydict() == {"q": [2, 4]}


def test_types_widen_on_the_last_row(read_sheet, monkeypatch):
    monkeypatch.setattr(rows, "BATCH_VALUES", 8)
    lines = [["a", "b", "c", "d"], *([1, 1, None, 1] for _ in range(20)), [1.5, "x", True, 2**70]]

    table = read_sheet(make_book(lines))

    assert [str(kind) for kind in table.schema.types] == ["double", "string", "bool", "double"]
    assert table.num_rows == 21
    assert table["b"][0].as_py() == "1"
    assert table["d"][20].as_py() == pytest.approx(2.0**70)


@pytest.mark.parametrize(
    ("lines", "kwargs", "line", "words"),
    [
        ([["a", "a"], [1, 2]], {}, 1, "2 columns have this name"),
        ([[], ["a", None, None, "b"], [1]], {}, 2, "columns have no name"),
        ([["a"], [1], [1, 2]], {}, 3, "a value stands in column 2"),
        ([["a"], [1]], {"sheet_name": "no"}, None, "no sheet 'no'; there are 's0'"),
        ([["a"], [1]], {"usecols": ["z"]}, None, "no column 'z'"),
        ([["a"], [1], ["x"]], {"dtype": {"a": "int64"}}, None, "'x', in row 2 of the data, is not"),
        ([["a"], [1.5]], {"dtype": {"a": "int64"}}, None, "'1.5', in row 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_sheet_is_named(read_sheet, lines, kwargs, line, words):
    with pytest.raises(TableError, match=words) as caught:
        read_sheet(make_book(lines), **kwargs)
    assert caught.value.line == line


@pytest.mark.parametrize(("lines", "shape"), [([], (0, 0)), ([["a", "b"]], (0, 2)), ([[None, None]], (0, 0))])
def test_sheets_without_rows(read_sheet, lines, shape):
    assert read_sheet(make_book(lines)).shape == shape


def rewrite(data, **changes):
    """A workbook with other parts, given as functions of what they are now (None: there is none)."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    for name, change in changes.items():
        parts[NAMES[name]] = change(parts.get(NAMES[name]))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, content)
    return file.getvalue()


NAMES = {
    "sheet": "xl/worksheets/sheet1.xml",
    "texts": "xl/sharedStrings.xml",
    "hidden": "xl/worksheets/texts.xml",
    "book": "xl/workbook.xml",
    "types": "[Content_Types].xml",
}
TEXTS = (
    '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>ü</t></si></sst>'.encode()
)


def share(data, texts=lambda old: TEXTS, part="texts"):
    """The workbook as Excel would write it: with the text of cell A1 in a part of its own."""
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    entry = b'<Override PartName="/%s" ContentType="%s"/></Types>' % (NAMES[part].encode(), kind)
    return rewrite(
        data,
        sheet=lambda xml: xml.replace(b't="inlineStr"><is><t>a</t></is>', b't="s"><v>0</v>'),
        types=lambda xml: xml.replace(b"</Types>", entry),
        **{part: texts},
    )


def test_shared_texts_are_found(read_sheet):
    assert read_sheet(share(make_book([["a"], [1]]))).to_pydict() == {"ü": [1]}


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("sheet", lambda xml: b'<!DOCTYPE x [<!ENTITY a "b">]>' + xml, "document type"),
        ("sheet", lambda xml: xml.replace(b"<v>", b"<v>" + b"9" * (2 << 20)), "more than a million"),
        ("sheet", lambda xml: xml[:-30], "cannot be read"),
        ("sheet", lambda xml: xml.replace(b'r="A2"', b'r="!2"'), "cannot be read"),
        ("texts", lambda xml: TEXTS + b" " * (33 << 20), "do not fit into the memory"),
        ("texts", lambda xml: TEXTS[:-9], "cannot be read"),
        ("book", lambda xml: b"<x/>", "there is no sheet 0"),
        ("types", lambda xml: b"<x/>", "cannot be read"),
    ],
)
def test_a_hostile_workbook_is_refused(read_sheet, name, change, words):
    with pytest.raises(TableError, match=words):
        read_sheet(rewrite(share(make_book([["a"], ["x"], [1]])), **{name: change}))


def test_texts_that_hide_among_the_sheets_are_found(read_sheet):
    """Sheets may be of any size; only what the workbook calls a sheet, and nothing else, is one."""
    data = make_book([["a"], [1]])
    assert read_sheet(share(data, part="hidden")).num_rows == 1

    with pytest.raises(TableError, match="do not fit into the memory"):
        read_sheet(share(data, lambda xml: b"<a/> " * (7 << 20) + TEXTS, "hidden"))


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", b"\xd0\xcf\x11\xe0" * 200])
def test_what_is_no_workbook_is_refused(read_sheet, data):
    with pytest.raises(TableError, match="Excel workbook"):
        read_sheet(data)


# JSON


@pytest.fixture
def read_json(convert):
    def read_json(data, transform="jsonl"):
        data = data.encode() if isinstance(data, str) else data
        return convert(data, lambda source, target: json_tables.convert(source, transform, target, ignore))

    return read_json


def test_lines_and_lists_of_objects_give_the_same_table(read_json):
    objects = [
        {"a": 1, "b": "x\ny", "l": [1, 2]},
        {"a": None, "s": {"t": 1.5}},
        {"b": "ü", "d": "2020-01-01"},
    ]
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\r\n" for one in objects)

    table = read_json(lines)

    assert [str(kind) for kind in table.schema.types][:3] == ["int64", "string", "list<element: int64>"]
    assert table["b"].to_pylist() == ["x\ny", None, "ü"]
    assert table["d"].type == pa.timestamp("s")
    assert read_json("\ufeff\n" + lines).equals(table)
    for text in (json.dumps(objects), json.dumps(objects, indent=2), lines, f" {lines} "):
        assert read_json(text, "json").equals(table)


@pytest.mark.parametrize("transform", ["json", "jsonl"])
def test_types_widen_and_columns_appear_late(read_json, monkeypatch, transform):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 200)
    monkeypatch.setattr(json_tables, "CHUNK_BYTES", 7)
    many = '{"a": 1, "d": "2020-01-01", "n": null, "s": {"x": [1]}}\n' * 50
    last = '{"a": 1.5, "d": "later", "n": true, "s": {"x": [0.5], "y": 1}, "new": "' + "long" * 500 + '"}'

    table = read_json(many + last, transform)

    assert table.num_rows == 51
    assert [str(kind) for kind in table.schema.types] == [
        "double", "string", "bool", "struct<x: list<element: double>, y: int64>", "string",
    ]  # fmt: skip
    assert table["d"][0].as_py() == "2020-01-01"
    assert table["new"][50].as_py() == "long" * 500


@pytest.mark.parametrize("data", ["", "\n \n", "\ufeff"])
def test_json_without_records_is_a_table_without_columns(read_json, data):
    assert read_json(data).shape == read_json(data, "json").shape == read_json("[]", "json").shape == (0, 0)


@pytest.mark.parametrize(
    ("data", "transform", "line", "words"),
    [
        ('{"a": 1}\n{"a": "x"}\n', "jsonl", 2, "a text where line 1 has a number"),
        ('{"a": 1}\n' * 100_000 + '{"a": [1]}\n', "jsonl", 100_001, "a list where line 1 has a number"),
        ('[{"s": {"x": 1}},\n{"s": {"x": {}}}]', "json", 2, "column 's.x'"),
        ('{"a": [1, "x"]}\n', "jsonl", 1, r"column 'a\[\]'"),
        ('{"a": 1}\n{"a": \n', "jsonl", 2, "not JSON"),
        ('{"a": 1}\n[1]\n', "jsonl", 2, "an object was expected, not a list"),
        ("1\n", "jsonl", 1, "an object was expected, not a number"),
        ("[1]", "json", 1, "an object was expected, not a number"),
        ('[{"a": 1},\n{"a": 2}', "json", 2, "seems to be cut off"),
        ('[{"a": 1},\n{"a": ', "json", 2, "not JSON"),
        ('[{"a": 1}\n{"a": 2}]', "json", 2, "a comma or the end"),
        ('[{"a": 1},]', "json", 1, "after the comma"),
        ('[{"a": 1}]\n{}', "json", 2, "after the end of the list"),
        ("]", "json", 1, "after the end of the list"),
        (b'{"a": "x"}\n{"a": "\xff"}\n', "jsonl", 2, "0xff is not UTF-8"),
        (b'{"a": "x"}\n{"a": "\xff"}\n', "json", 2, "0xff is not UTF-8"),
        ("[" * 100_000, "json", 1, "nested too deeply|not JSON"),
    ],
)
def test_what_is_wrong_with_json_is_named_with_its_line(read_json, data, transform, line, words):
    with pytest.raises(TableError, match=words) as caught:
        read_json(data, transform)
    assert caught.value.line == line


# Arrow


@pytest.fixture
def read_arrow(convert):
    return lambda data: convert(data, lambda source, target: arrow_files.convert(source, target, ignore))


TABLE = pa.table(
    {"a": [1, None], "t": pa.array([1, 2], pa.timestamp("s")), "d": pa.array(["x", "y"]).dictionary_encode()}
)


def write_arrow(kind, table=TABLE):
    file = io.BytesIO()
    if kind == "feather":
        feather.write_feather(table, file, compression="zstd")
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(file, table.schema) as writer:
            for _ in range(3):
                writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["feather", "file", "stream"])
def test_arrow_files_streams_and_feather_are_tables(read_arrow, kind, monkeypatch):
    monkeypatch.setattr(arrow_files, "SLICE_BYTES", 10)
    table = read_arrow(write_arrow(kind))

    assert table.num_rows == (2 if kind == "feather" else 6)
    assert table.schema.field("t").type == pa.timestamp("s")
    assert table.slice(0, 2).to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read"),
        (b"ARROW1", "cannot be read"),
        (b"FEA1xxxxFEA1", "version 1"),
        (b"\xff" * 100, "cannot be read"),
        (write_arrow("file")[:-20], "cannot be read"),
        (write_arrow("stream")[:200], "cannot be read"),
        (write_arrow("file", pa.table([[1], [2]], names=["a", "a"])), "2 columns have this name"),
    ],
)
def test_what_is_no_arrow_file_is_refused(read_arrow, data, words):
    with pytest.raises(TableError, match=words):
        read_arrow(data)


def test_a_damaged_arrow_file_points_nowhere(read_arrow):
    """Any byte may be wrong: an error, or another table, but never a crash."""
    whole = write_arrow("file", pa.table({"a": ["some", "text"], "l": [[1], [2, 3]]}))
    for position in range(0, len(whole), 37):
        with contextlib.suppress(TableError):
            assert read_arrow(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])


# All of them in a build


def test_all_formats_in_one_build_file(client, make_tree, tmp_path):
    folder = make_tree(
        {
            "b.xlsx": make_book([["a"], [1]]),
            "j.json": b'[{"a": 1}]',
            "l.jsonl": b'{"a": 1}\n',
            "n.jsonl": b'{"a": [1]}\n',
            "f.feather": write_arrow("feather"),
            "s.ssv": b"a;b\n1;2\n",
            "build.yml": b"""
contents:
  xlsx: {file: b.xlsx}
  raw: {file: j.json}
  json: {file: j.json, transform: json}
  jsonl: {file: l.jsonl, transform: jsonl}
  nested: {file: n.jsonl, transform: jsonl}
  feather: {file: f.feather, transform: Feather}
  arrow: {file: f.feather, transform: arrow}
  ssv: {file: s.ssv}
""",
        }
    )

    client.build("demo/x", folder / "build.yml")

    package = client.load("demo/x")
    assert {package[name].table().num_columns for name in ("xlsx", "json", "jsonl", "nested")} == {1}
    assert package["json"].digests == package["jsonl"].digests
    assert package["feather"].digests == package["arrow"].digests
    assert not package["raw"].is_table
    with pytest.raises(StoreError, match="export with --parquet"):
        client.export("demo/x/nested", tmp_path / "nested")
    assert client.export("demo/x/nested", tmp_path / "nested", parquet=True).files == ["n.parquet"]
    assert client.export("demo/x/xlsx", tmp_path / "out").files == ["b_xlsx.csv"]
    assert client.build("demo/x", folder / "build.yml").digest == client.store.get_latest(
        type("H", (), {"owner": "demo", "name": "x"})()
    )


def test_foreign_parquet_with_a_mark_of_ours_is_read(tmp_path):
    schema = pa.schema([pa.field("a", pa.string(), metadata={tables.UNIT_KEY: b"s"})])
    pq.write_table(pa.table({"a": ["x"]}, schema=schema), tmp_path / "a")

    assert frames.read_table([tmp_path / "a"]).to_pydict() == {"a": ["x"]}
