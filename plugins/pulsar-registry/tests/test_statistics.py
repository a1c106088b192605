"""What is known of tables: computed once, from the footer, by a process that nobody else depends on."""

import datetime
import decimal

import pyarrow
import pytest
from registry_kit import group, leaf, parquet, root, sha, table
from sqlalchemy import select

from core.db import db
from core.jobs.models import Job
from registry import describing
from registry.describing import Reader, Undescribed

pytestmark = pytest.mark.any_database

COLUMNS = {
    "n": [3, None, 1],
    "text": ["b", "a" * 300, None],
    "day": [datetime.date(2013, 1, 1), datetime.date(2014, 1, 1), datetime.date(2012, 1, 1)],
    "at": pyarrow.array([1, 2, 3], pyarrow.timestamp("ns", "UTC")),
    "price": [decimal.Decimal("1.20"), decimal.Decimal("10.00"), None],
    "list": [[1, 2], [], None],
    "x": [1.5, float("nan"), float("inf")],
    "large": [2**60] * 3,
    "raw": [b"\x00\xff", b"", None],
}
FLIGHTS = parquet(COLUMNS)


def statistics(person, path, expected="ready"):
    answer = person.get(f"/api/statistics/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.json["state"] == expected, answer.text
    return answer.json


def test_a_table_is_described_after_its_push(people, work):
    digest = people.ann.push_tree("ann/p", root(t=group(flights=table(FLIGHTS))), FLIGHTS)
    statistics(people.ann, f"ann/p@{digest[:8]}/t/flights", "waiting")

    work()
    found = statistics(people.ann, f"ann/p@{digest[:8]}/t/flights")

    assert (found["hash"], found["path"], found["rows"]) == (digest, "t/flights", 3)
    (fragment,) = found["fragments"]
    assert (fragment["hash"], fragment["size"], fragment["row_groups"]) == (sha(FLIGHTS), len(FLIGHTS), 1)
    columns = {column.pop("name"): column for column in fragment["columns"]}
    assert list(columns) == list(COLUMNS)
    assert columns["n"] == {"type": "int64", "nulls": 1, "min": 1, "max": 3}
    assert columns["text"] == {"type": "string", "nulls": 1, "min": "a" * 99 + "…", "max": "b"}
    assert (columns["day"]["min"], columns["day"]["max"]) == ("2012-01-01", "2014-01-01")
    assert (columns["price"]["min"], columns["price"]["max"]) == ("1.20", "10.00")
    assert (columns["x"]["min"], columns["x"]["max"]) == (1.5, "inf")
    assert columns["large"]["min"] == str(2**60), "numbers that JSON readers would round are texts"
    assert columns["list"] == {"type": "list<element: int64>", "nulls": None, "min": None, "max": None}
    assert fragment["head"]["columns"] == list(COLUMNS)
    first, second, _ = fragment["head"]["rows"]
    assert first[:5] == [3, "b", "2013-01-01", "1970-01-01T00:00:00.000000001Z", "1.20"]
    assert first[5:] == ["[1, 2]", 1.5, str(2**60), "AP8="]
    assert second[0] is None


def test_fragments_are_counted_together(people, work):
    parts = [parquet({"a": [1, 2]}), parquet({"a": [3]})]
    digest = people.ann.push_tree("ann/p", root(t=table(*parts), none=table()), *parts)
    people.ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    work()
    found = statistics(people.ann, "ann/p/t")
    assert (found["rows"], found["n_fragments"], len(found["fragments"])) == (3, 2, 2)
    assert [fragment["rows"] for fragment in found["fragments"]] == [2, 1]
    assert statistics(people.ann, "ann/p/none")["rows"] == 0


def test_nobody_looks_twice_at_the_same_bytes(people, work):
    for person, handle in ((people.ann, "ann/p"), (people.bob, "bob/q")):
        digest = person.push_tree(handle, root(t=table(FLIGHTS), u=leaf(b"text")), FLIGHTS, b"text")
        work()
        assert statistics(person, f"{handle}@{digest}/t")["rows"] == 3
    assert [job.result for job in db.session.scalars(select(Job).order_by(Job.id))] == [
        {"tables": 1},
        {"tables": 0},
    ]
    people.ann.push("ann/raw", {"a.txt": b"text"})
    people.ann.push_tree("ann/p", root(t=table(FLIGHTS), u=leaf(b"text")), FLIGHTS, b"text")
    assert len(db.session.scalars(select(Job)).all()) == 2, "no table, or nothing new: no job"


@pytest.mark.parametrize(
    ("name", "metadata"),
    [("a.PARQUET", {}), ("a", {"q_ext": "parquet"}), ("a", {"q_path": "b\\c.parquet"})],
)
def test_a_file_that_is_called_parquet_is_a_table_too(people, work, name, metadata):
    digest = people.ann.push_tree("ann/p", root(**{name: leaf(FLIGHTS, metadata=metadata)}), FLIGHTS)
    work()
    assert statistics(people.ann, f"ann/p@{digest}/{name}")["rows"] == 3


def test_what_is_no_table_is_shown_as_it_begins(people):
    files = {
        "text": "Grüße\n\tx".encode(),
        "cut": b"x" + "ä".encode() * 4000,
        "empty": b"",
        "latin": b"\xe4\xf6",
        "binary": b"ab\x00c",
    }
    digest = people.ann.push("ann/p", files)
    found = {name: statistics(people.ann, f"ann/p@{digest}/{name}", "none")["text"] for name in files}
    assert found == {
        "text": "Grüße\n\tx",
        "cut": "x" + "ä" * 2047,
        "empty": "",
        "latin": None,
        "binary": None,
    }


def test_statistics_are_for_those_who_may_read(people, work):
    digest = people.ann.push_tree("ann/p", root(g=group(t=table(FLIGHTS))), FLIGHTS)
    work()
    for person, path, status in (
        (people.bob, f"p@{digest}/g/t", 404),
        (people.nobody, f"p@{digest}/g/t", 401),
        (people.ann, "p/g/t", 404),  # there is no tag latest
        (people.ann, f"p@{digest}/g", 404),
        (people.ann, f"p@{digest}/g/t/u", 404),
        (people.ann, f"p@{digest}/g/x", 404),
        (people.ann, "p@/g/t", 404),
        (people.ann, f"p@{'0' * 64}/g/t", 404),
        (people.ann, f"p@{'x' * 500}/g/t", 404),
        (people.ann, f"p@{digest}/%00", 404),
    ):
        assert person.get(f"/api/statistics/ann/{path}").status_code == status, path


def test_a_package_that_goes_before_its_tables_were_looked_at_does_no_harm(people, work):
    people.ann.push_tree("ann/p", root(t=table(FLIGHTS)), FLIGHTS)
    people.ann.delete("/api/package/ann/p/")
    work()
    (job,) = db.session.scalars(select(Job))
    assert (job.state, job.result) == ("done", {"tables": 0})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        b"a,b\n1,2\n",
        FLIGHTS[:-1],
        FLIGHTS[:-8] + b"\xff\xff\xff\x7fPAR1",
        b"PAR1" * 99,
    ],
)
def test_what_is_no_parquet_is_called_so(people, work, content):
    tree = root(bad=table(content), good=table(FLIGHTS))
    digest = people.ann.push_tree("ann/p", tree, content, FLIGHTS)
    work()
    assert statistics(people.ann, f"ann/p@{digest}/bad", "wrong")["wrong"]
    assert statistics(people.ann, f"ann/p@{digest}/good")["rows"] == 3


def test_a_hundred_broken_files_break_nobody():
    read = 0
    with Reader() as reader:
        for number in range(100):
            content = bytearray(FLIGHTS)
            for place in range(number + 1):
                content[-(place * 37 + number * 11) % len(content)] ^= 1 + number % 255
            try:
                reader.describe(len(content), lambda start, stop, c=bytes(content): c[start:stop])
            except Undescribed:
                read += 1
        assert reader.describe(len(FLIGHTS), lambda start, stop: FLIGHTS[start:stop])["rows"] == 3
    assert read > 50


def test_of_a_large_file_only_parts_are_read():
    content = parquet({f"c{n}": range(100_000) for n in range(20)}, row_group_size=10_000)
    ranges = []

    def read(start, stop):
        ranges.append(stop - start)
        return content[start:stop]

    with Reader() as reader:
        found = reader.describe(len(content), read)
    assert (found["rows"], found["row_groups"]) == (100_000, 10)
    assert found["columns"][7] == {"name": "c7", "type": "int64", "nulls": 0, "min": 0, "max": 99_999}
    assert len(found["head"]["rows"]) == 20
    assert sum(ranges) < len(content) / 5


def test_a_wide_table_is_described_in_part():
    content = parquet({f"c{n}": [n] for n in range(1500)})
    with Reader() as reader:
        found = reader.describe(len(content), lambda start, stop: content[start:stop])
    assert (found["n_columns"], len(found["columns"]), len(found["head"]["columns"])) == (1500, 1000, 50)
    assert found["head"]["rows"] == [list(range(50))]


def test_a_table_whose_first_rows_do_not_fit_into_the_memory_has_no_first_rows():
    # 20 rows of 60 MB each, in a file of some kB.
    large = pyarrow.DictionaryArray.from_arrays([0] * 30, ["x" * 60_000_000])
    content = parquet({"large": large}, compression="zstd")
    assert len(content) < 100_000
    with Reader() as reader:
        found = reader.describe(len(content), lambda start, stop: content[start:stop])
        assert (found["rows"], found["head"]) == (30, None)
        assert reader.describe(len(FLIGHTS), lambda start, stop: FLIGHTS[start:stop])["rows"] == 3


@pytest.mark.parametrize(
    "script",
    [
        "",
        "import os; os.abort()",
        "while True: pass",
        "print('x', flush=True); input()",
        "print('[1]', flush=True); input()",
        "print('{}', flush=True); input()",
        """print('{"read": [0]}', flush=True); input()""",
        """print('{"read": ["a", {}]}', flush=True); input()""",
        """while True: print('{"read": [0, 1]}', flush=True)""",
        """while True: print('{"read": [5, -1]}', flush=True)""",
        """while True: print('{"read": [0, 99999]}', flush=True)""",
        """print('{"found": {"rows": -1, "columns": []}}', flush=True); input()""",
        """print('{"found": {"rows": 1, "columns": [1], "n_columns": 1}}', flush=True); input()""",
        """print('{"found": {"rows": 1, "columns": [], "n_columns": 1, "head": 1}}', flush=True); input()""",
        """print("x" * 20_000_000, flush=True); input()""",
    ],
)
def test_whatever_the_process_does_only_the_file_is_given_up(script, tmp_path, monkeypatch):
    path = tmp_path / "child.py"
    path.write_text(script)
    with Reader(seconds=0.3) as reader, monkeypatch.context() as patch:
        patch.setattr(describing, "SCRIPT", path)
        with pytest.raises(Undescribed):
            reader.describe(10, lambda start, stop: b"0123456789"[start:stop])
        with pytest.raises(Undescribed):
            reader.describe(10, lambda start, stop: b"0123456789"[start:stop])


def test_an_error_of_who_gives_the_bytes_comes_out_and_the_reader_goes_on():
    with Reader() as reader:
        with pytest.raises(ZeroDivisionError):
            reader.describe(len(FLIGHTS), lambda start, stop: 1 // 0)
        assert reader.describe(len(FLIGHTS), lambda start, stop: FLIGHTS[start:stop])["rows"] == 3
