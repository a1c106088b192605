import datetime as dt
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pulsar_client import checks, cli
from pulsar_client.errors import BuildError, CheckFailed
from pulsar_client.yaml_input import parse_yaml

TABLE = pa.table(
    {
        "id": [1, 2, 3],
        "code": ["AA", "B6", None],
        "delay": [-5.0, float("nan"), 30.0],
        "day": [dt.date(2013, 1, 1), dt.date(2013, 1, 2), None],
        "same": [7, 7, None],
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "ok": [True, None, False],
        "list": [[1], [], None],
    }
)


LIST = pa.list_(pa.field("element", pa.int64()))


@pytest.fixture
def test(tmp_path, monkeypatch):
    """What a check, written in YAML, finds in a table."""
    monkeypatch.setattr(checks, "BATCH_ROWS", 2)
    pq.write_table(TABLE, tmp_path / "t")

    def test(text, path=tmp_path / "t"):
        return checks.list_failures(checks.parse_check("c", parse_yaml(text, "x")), path)

    return test


@pytest.mark.parametrize(
    "text",
    [
        "rows: 3",
        "rows: {min: 1, max: 3}",
        "rows: {min: 1}",
        "unique: id",
        "unique: [id, same]",
        "columns: {id: {type: integer, not_null: true, unique: true, min: 1, max: 3, values: [1, 2, 3]}}",
        "columns: {id: {type: int64, min: 0.5, max: 3.5}}",
        "columns: {code: {type: string, unique: true, regex: '[A-Z][A-Z0-9]', values: [AA, B6]}}",
        "columns: {delay: {type: number, min: -5, max: 30, unique: true}}",
        "columns: {day: {type: date, min: 2013-01-01, max: '2013-12-31', unique: true}}",
        "columns: {kind: {values: [x, y], regex: '.'}}",
        "columns: {ok: {type: bool, values: [true, false]}}",
        "columns: {'[ik]*d': {not_null: true}}",
        "{}",
    ],
)
def test_a_rule_that_is_kept_says_nothing(test, text):
    assert test(text) == []


@pytest.mark.parametrize(
    ("text", "failures"),
    [
        ("rows: 2", ["3 rows, more than 2"]),
        ("rows: {min: 4}", ["3 rows, fewer than 4"]),
        ("unique: same", ["column 'same', row 2: 7 is there before"]),
        ("unique: [same, nothing]", ["there is no column 'nothing'"]),
        ("columns: {same: {unique: true}}", ["column 'same', row 2: 7 is there before"]),
        ("columns: {code: {not_null: true}}", ["column 'code', row 3: None is missing"]),
        ("columns: {delay: {max: 29}}", ["column 'delay', row 3: 30.0 is more than 29"]),
        ("columns: {id: {min: 1.5}}", ["column 'id', row 1: 1 is less than 1.5"]),
        ("columns: {day: {min: 2013-01-02}}", ["column 'day', row 1: 2013-01-01 is less than 2013-01-02"]),
        ("columns: {day: {min: x}}", ["column 'day': min 'x' cannot be compared with the type date32[day]"]),
        ("columns: {day: {min: 5}}", ["column 'day': min 5 cannot be compared with the type date32[day]"]),
        ("columns: {list: {min: 5}}", ["column 'list': min 5 cannot be compared with the type " + str(LIST)]),
        ("columns: {code: {values: [AA]}}", ["column 'code', row 2: B6 is not allowed"]),
        ("columns: {id: {values: [1, x]}}", ["column 'id': values are not all of the type int64"]),
        ("columns: {kind: {values: [x]}}", ["column 'kind', row 2: y is not allowed"]),
        ("columns: {code: {regex: '[A-Z]'}}", ["column 'code', row 1: AA does not match [A-Z]"]),
        ("columns: {id: {regex: x}}", ["column 'id': regex is for texts, not for the type int64"]),
        ("columns: {id: {type: string}}", ["column 'id' is of the type int64, not string"]),
        ("columns: {nothing: {}}", ["there is no column 'nothing'"]),
        ("columns: {'z*': {}}", ["there is no column 'z*'"]),
        (
            "columns: {'*d*': {max: 0}}",
            [
                "column 'code': max 0 cannot be compared with the type string",
                "column 'day': max 0 cannot be compared with the type date32[day]",
                "column 'kind': max 0 cannot be compared with the type string",
                "column 'id', row 1: 1 is more than 0",
                "column 'delay', row 3: 30.0 is more than 0",
            ],
        ),
    ],
)  # fmt: skip
def test_a_rule_that_is_broken_says_where(test, text, failures):
    assert test(text) == failures


def test_a_regex_that_cannot_be_used_or_takes_long_does_no_harm(test, tmp_path):
    assert "cannot be used" in test("columns: {code: {regex: '('}}")[0]
    assert "cannot be used" in test("columns: {code: {regex: '(?=x)'}}")[0]
    pq.write_table(pa.table({"a": ["a" * 5000 + "!"]}), tmp_path / "slow")
    assert "does not match" in test("columns: {a: {regex: '(a|aa)+$'}}", tmp_path / "slow")[0]


def test_a_table_that_cannot_be_read_is_a_failure(test, tmp_path):
    (tmp_path / "bad").write_bytes(b"PAR1" + b"\0" * 20 + b"PAR1")

    assert "cannot be read" in test("rows: 1", tmp_path / "bad")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row: 1", "'row' is not known; known are rows, unique and columns"),
        ("rows: many", "rows must be a number"),
        ("rows: {min: 1.5}", "whole numbers"),
        ("unique: {a: 1}", "list of columns"),
        ("columns: [a]", "mapping of columns"),
        ("columns: {a: 5}", "must be a mapping"),
        ("columns: {a: {maximum: 5}}", "'maximum' of column 'a' is not known; known are type, not_null"),
        ("columns: {a: {not_null: please}}", "true or false"),
        ("columns: {a: {values: x}}", "must be a list"),
        ("columns: {a: {min: [1]}}", "a number or a text"),
        ("columns: {a: {regex: 5}}", "must be a text"),
        ("columns: {a: {type: 5}}", "must be a text"),
    ],
)
def test_what_is_no_rule_is_refused(test, text, words):
    with pytest.raises(BuildError, match=f"^The check 'c': .*{words}"):
        test(text)


FILES = {"a.csv": b"x,y\n1,a\n2,b\n", "b.csv": b"x,y\n9,a\n", "n.txt": b"hello"}
BUILD = """
checks:
  small: {columns: {x: {max: 5}}}
  rows: {rows: 2}
contents:
  a: {file: a.csv, checks: "small, rows"}
  g:
    checks: [small]
    b: {file: b.csv}
"""


def test_a_build_that_breaks_a_rule_changes_nothing(client, make_tree):
    folder = make_tree({**FILES, "build.yml": BUILD.encode()})

    for _ in range(2):  # Files that are known from last time are checked too.
        with pytest.raises(
            CheckFailed, match=r"Data check failed: small on b\.csv @ pandas: column 'x', row 1: 9"
        ):
            client.build("demo/x", folder / "build.yml")
    assert client.store.list_packages() == []

    (folder / "b.csv").write_bytes(b"x\n1\n")
    assert client.build("demo/x", folder / "build.yml").entries == 2


def test_the_command_shows_all_failures_and_keeps_nothing(tmp_path, make_tree, monkeypatch, capsys):
    monkeypatch.setenv("PULSAR_CLIENT_HOME", str(tmp_path / "home"))
    text = BUILD.replace("small, rows", "rows").replace("rows: 2", "rows: 3")
    folder = make_tree({**FILES, "build.yml": text.encode()})

    assert cli.run(["check", str(folder / "build.yml")]) == 1

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "Data check failed: rows on a.csv @ pandas: 2 rows, fewer than 3",
        "Data check failed: small on b.csv @ pandas: column 'x', row 1: 9 is more than 5",
    ]
    assert err == "2 checks of 2 entries: 2 failures.\n"
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.name != ".format"]
    (folder / "b.csv").write_bytes(b"x\n1\n")
    (folder / "a.csv").write_bytes(b"x\n1\n2\n3\n")
    assert cli.run(["check", str(folder / "build.yml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checks"] == 2


def test_checks_may_stand_beside_the_build_file(client, make_tree):
    folder = make_tree(
        {**FILES, "checks.yml": b"one: {rows: 1}", "build.yml": b"contents: {a: {file: a.csv, checks: one}}"}
    )

    with pytest.raises(CheckFailed, match="2 rows, more than 1"):
        client.build("demo/x", folder / "build.yml")


PYTHON = """
checks:
  fine: qc.check(df.x.max() == 2) and qc.filename == 'a.csv' and qc.nodename == 'g/a'
  series: df.x > 0
  enum: "qc.check_column_enum('y', ['a', 'b']) and qc.check_column_enum('y', lambda c: c.str.len() == 1)"
  range: qc.check_column_valrange('[xz]', minval=1, maxval=2) and qc.check_column_valrange('[xz]', 1)
  named: qc.check_column_valrange('x', 1.4, 1.6, 'mean') and qc.check_column_valrange('x', 0, 3, abs)
  texts: qc.check_column_regexp('y', '[ab]$') and qc.check_column_substr('d', '2013')
  times: qc.check_column_datetime('d', '%Y-%m-%d')
  several: |
    sample = qc.data_sample(1)
    qc.print_recnums('large', df.x > 1)
    qc.check(len(sample) == 1 and numpy.isfinite(df.x).all() and re and pd)
  text: "'hello' in qc.data"
  wrong: df.x > 1
  enum_no: qc.check_column_enum('y', ['a'])
  range_no: qc.check_column_valrange('[xz]', maxval=1)
  late_no: qc.check_column_valrange('[xz]', minval=1.5)
  texts_no: qc.check_column_regexp('y', 'a')
  times_no: qc.check_column_datetime('y', '%Y')
  several_no: |
    qc.check(True)
    qc.check(False)
  broken: 1 / 0
  column: qc.check_column_enum('q', [])
  name: qc.check_column_valrange('x', 1, 2, '__class__')
contents:
  g:
    a: {file: a.csv, checks: CHECKS}
  n: {file: n.txt, checks: TEXT}
"""
GOOD = "fine series enum range named texts times several"


@pytest.fixture
def run(client, make_tree):
    def run(names, text="", **options):
        build = PYTHON.replace("CHECKS", names or "''").replace("TEXT", text or "''")
        files = {"a.csv": b"x,y,d,z\n1,a,2013-01-01,\n2,b,2013-01-02,2\n", "n.txt": b"hello"}
        return client.check(make_tree({**files, "build.yml": build.encode()}) / "build.yml", **options)

    return run


def test_checks_in_python_run_as_in_quilt_once_they_are_allowed(run, capsys):
    result = run(GOOD, "text", allow_python=True)

    assert (result.failures, result.checks, result.entries) == ([], 9, 2)
    assert capsys.readouterr().err == "large: 1\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong", ""),
        ("enum_no", ""),
        ("range_no", ""),
        ("late_no", ""),
        ("texts_no", ""),
        ("times_no", ""),
        ("several_no", ""),
        ("broken", ": Data check raised exception: ZeroDivisionError: division by zero"),
        ("column", ": Data check raised exception: LookupError: no column matches 'q'"),
        ("name", ": Data check raised exception: ValueError: '__class__' is not one of"),
    ],
)
def test_a_check_in_python_that_fails_is_told_in_quilts_words(run, name, words):
    (failure,) = run(name, allow_python=True).failures

    assert failure.startswith(f"Data check failed: {name} on a.csv @ pandas{words}")
    assert words or failure.endswith("@ pandas")


def test_python_does_not_run_unless_it_is_allowed(run, client, make_tree, tmp_path):
    code = f"open({str(tmp_path / 'hacked')!r}, 'w')"
    text = f'checks: {{evil: "{code}"}}\ncontents: {{a: {{file: a.csv, checks: evil}}}}'
    folder = make_tree({**FILES, "build.yml": text.encode()})

    for action in (
        lambda: client.build("demo/x", folder / "build.yml"),
        lambda: client.check(folder / "build.yml"),
    ):
        with pytest.raises(BuildError, match="The check 'evil' is Python code"):
            action()
    assert not (tmp_path / "hacked").exists()
    assert run("").failures == []  # What is not used does not run, and does no harm.


def test_rules_are_for_tables(client, make_tree):
    text = b"checks: {r: {rows: 1}}\ncontents: {n: {file: n.txt, checks: r}}"

    result = client.check(make_tree({**FILES, "build.yml": text}) / "build.yml")

    assert result.failures == ["Data check failed: r on n.txt @ file: it is a plain file, not a table"]
