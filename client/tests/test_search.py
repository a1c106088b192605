"""pulsar search."""

import json

import pytest
from click.testing import CliRunner

from pulsar_client import cli
from pulsar_client.errors import ProtocolError

FOUND = [
    {
        "owner": "ann",
        "name": "x",
        "is_public": True,
        "readme_preview": "# Flights\x1b[31m\nof 2013",
        "rank": 1,
    },
    {"owner": "bob", "name": "long", "is_team": True, "readme_preview": "a" * 100, "rank": 0.5},
    {"owner": "bob", "name": "none", "readme_preview": None},
]


@pytest.fixture
def pulsar(site, tmp_path):
    env = {"PULSAR_CLIENT_HOME": str(tmp_path), "PULSAR_CLIENT_URL": site.url, "PULSAR_CLIENT_KEY": site.key}

    def run(*arguments):
        with CliRunner(env=env).isolation() as (out, err, _):
            return cli.run(list(arguments)), out.getvalue().decode(), err.getvalue().decode()

    return run


def test_what_is_found_is_listed(site, pulsar):
    site.found = FOUND
    status, out, err = pulsar("search", "flights", "2013 & more")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "ann/x     public   Flights [31m",
        "bob/long  team     " + "a" * 59 + "…",
        "bob/none  private",
    ]
    assert site.questions == [{"q": ["flights 2013 & more"], "limit": ["100"]}]


def test_a_full_page_is_said_so(site, pulsar):
    site.found = FOUND
    status, out, err = pulsar("search", "-n", "3", "--json")
    assert (status, json.loads(out), err) == (0, FOUND, "")
    assert pulsar("search", "x", "-n", "3")[2] == "The first 3; there may be more.\n"
    assert pulsar("search", "x", "-n", "0")[0] == 2


@pytest.mark.parametrize("wrong", [{}, {"owner": 1, "name": "x"}, {"owner": "x"}, 5])
def test_an_answer_that_names_no_packages_is_refused(site, client, wrong):
    site.found = [wrong]
    with pytest.raises(ProtocolError):
        client.search("x")
