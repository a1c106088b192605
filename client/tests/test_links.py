"""pulsar url: a link to one file."""

import json

import pytest
from click.testing import CliRunner

from pulsar_client import cli
from pulsar_client.errors import ConfigurationError, NotFound, ProtocolError


@pytest.fixture
def pushed(client, make_tree):
    client.build("demo/x", make_tree({"a ä#.txt": b"hello"}))
    client.push("demo/x")


def test_a_link_is_found_by_path(site, client, pushed):
    link = client.find_link("demo/x/a ä#.txt", revision="1.0", fragment=0)
    assert link.startswith(f"{site.url}/blob/")
    assert site.linked == [("demo", "x", "1.0", "a ä#.txt", "fragment=0")]


def test_a_link_is_printed_alone(site, pushed, tmp_path):
    env = {"PULSAR_CLIENT_HOME": str(tmp_path), "PULSAR_CLIENT_URL": site.url, "PULSAR_CLIENT_KEY": site.key}
    for more, read in (((), str.strip), (("--json",), lambda text: json.loads(text)["url"])):
        with CliRunner(env=env).isolation() as (out, err, _):
            assert cli.run(["url", "demo/x/a ä#.txt", "-r", "old", *more]) == 0
            assert read(out.getvalue().decode()).startswith(f"{site.url}/blob/")
            assert err.getvalue() == b""
    assert [asked[2] for asked in site.linked] == ["old", "old"]


def test_what_is_no_file_has_no_link(site, client, pushed):
    with pytest.raises(ConfigurationError):
        client.find_link("demo/x")
    with pytest.raises(NotFound, match="There is no such file"):
        client.find_link("demo/x/none")
    site.send_at_once = True
    with pytest.raises(ProtocolError):
        client.find_link("demo/x/a ä#.txt")
