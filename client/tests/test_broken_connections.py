"""Every call of push and install is made again when its connection breaks, wherever that happens."""

import random

import pytest

from pulsar_client.errors import ConnectionFailed


@pytest.fixture
def files(make_tree):
    small = {f"small/{n}": random.Random(n).randbytes(1_500) for n in range(20)}
    return make_tree({**small, "large": random.Random(0).randbytes(100_000), "empty": b""})


@pytest.mark.parametrize("plain", [False, True], ids=["", "plain"])
@pytest.mark.parametrize("breaks", ["before", "within", "after"])
def test_push_and_install_outlive_a_break_of_every_connection(
    site, client, make_client, files, breaks, plain
):
    site.plain, site.more.breaks = plain, breaks
    client.build("demo/x", files, raw=True)

    pushed = client.push("demo/x", **({} if plain else {"expect": "none"}))
    site.more.versions["demo/x"] = {"1.0": pushed.digest}
    other = make_client("other")
    installed = other.install("demo/x", version="1.0")

    assert installed.digest == pushed.digest == site.latest["demo/x"]
    assert other.verify("demo/x").ok
    calls = {call.partition("/blob/")[0] for call in site.more.broken}
    assert {"GET /api/capabilities", "GET /api/version/demo/x/1.0", "PUT ", "GET "} <= calls
    kinds = (
        {"HEAD "}
        if plain
        else {"POST /api/objects/heads", "POST /api/objects/pack", "POST /api/objects/fetch"}
    )
    assert kinds <= calls
    assert f"PUT /api/package/demo/x/{pushed.digest}" in calls


def test_lists_outlive_it_too(site, client, files):
    client.build("demo/x", files, raw=True)
    client.push("demo/x")
    site.more.breaks, site.more.broken = "within", set()
    assert client.whoami()["username"] == "demo"
    assert len(client.log("demo/x")) == 1
    assert client.list_remote("demo")
    assert client.tags.list("demo/x") == {"latest": site.latest["demo/x"]}
    assert len(site.more.broken) == 4


def test_a_site_that_never_answers_is_given_up(site, client, files):
    client.build("demo/x", files, raw=True)
    site.more.breaks = "before"
    site.more.broken = Nothing()
    with pytest.raises(ConnectionFailed, match="does not answer"):
        client.push("demo/x")


class Nothing(set):
    """Forgets what is put into it."""

    def add(self, _):
        pass
