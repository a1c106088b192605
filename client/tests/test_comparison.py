"""pulsar diff: all pages, as lines and as JSON; what cannot be read is refused."""

import json

import pytest
from click.testing import CliRunner

from pulsar_client import cli
from pulsar_client.comparison import describe
from pulsar_client.errors import ProtocolError

CHANGES = [
    {"path": "a\nb", "change": "added", "new": {"type": "FILE", "size": 2048}},
    {"path": "g", "change": "removed", "old": {"type": "GROUP"}},
    {"path": "new", "change": "moved", "from": "old", "fields": ["metadata_hash"]},
    {
        "path": "t",
        "change": "changed",
        "fields": ["hashes", "metadata"],
        "old": {"size": 10},
        "new": {"size": 20},
        "table": {
            "rows": [2, 3],
            "added": [{"name": "b", "type": "int64"}],
            "removed": [{"name": "c", "type": "double"}],
            "changed": [{"name": "a", "max": [2, 7]}, {"name": "d", "type": ["int64", "string"]}],
        },
    },
    {"path": "", "change": "changed", "fields": ["metadata_hash"]},
]
LINES = [
    "+ a b  2.0 kB",
    "- g",
    "> new  from old  user metadata",
    "~ t  10 B -> 20 B  metadata, 2 -> 3 rows, +b (int64), -c (double), d (int64 -> string)",
    "~ (the package itself)  user metadata",
]


@pytest.fixture
def pulsar(site, tmp_path):
    env = {"PULSAR_CLIENT_HOME": str(tmp_path), "PULSAR_CLIENT_URL": site.url, "PULSAR_CLIENT_KEY": site.key}

    def run(*arguments):
        with CliRunner(env=env).isolation() as (out, err, _):
            status = cli.run(list(arguments))
            return status, out.getvalue().decode(), err.getvalue().decode()

    return run


def test_differences_are_shown_as_lines(site, pulsar):
    site.changes = CHANGES
    status, out, err = pulsar("diff", "demo/x", "1.0 a")
    assert (status, out.splitlines()) == (0, LINES)
    assert err == f"{'0' * 12} -> {'1' * 12}: 3 added, 2.0 kB new.\n"
    assert site.compared == [("demo/x", "1.0 a", "latest")]


def test_differences_are_shown_as_json(site, pulsar):
    site.changes = CHANGES
    status, out, err = pulsar("diff", "demo/x", "1.0", "2.0", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["old"], found["changes"]) == ("0" * 64, CHANGES)
    assert site.compared == [("demo/x", "1.0", "2.0")]


@pytest.mark.parametrize("number", [0, 999, 1000, 2500])
def test_all_pages_are_asked_for(site, client, number):
    site.changes = [{"path": f"f{n}", "change": "added"} for n in range(number)]
    assert client.diff("demo/x", "a").changes == site.changes
    assert len(site.compared) == number // 1000 + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"changes": None},
        {"changes": [{"path": "x", "change": "eaten"}]},
        {"changes": [{"path": 1, "change": "added"}]},
        {"summary": {"added": "x"}},
        {"bytes": []},
        {"from": None},
    ],
)
def test_an_answer_that_is_no_comparison_is_refused(site, client, wrong):
    site.diff = wrong
    with pytest.raises(ProtocolError):
        client.diff("demo/x", "a")


@pytest.mark.parametrize(
    "odd", [1, {"rows": 1}, {"added": None}, {"rows": [1]}, {"added": [1], "changed": [{"type": 5}]}]
)
def test_a_table_that_is_described_oddly_is_left_out(odd):
    assert describe({"path": "t", "change": "changed", "fields": [], "table": odd}) == "~ t"
