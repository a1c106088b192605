"""Tags, versions and the end of packages on the site; -x, -t and -v."""

import json

import pytest

from pulsar_client.errors import ConfigurationError, Conflict, NotFound, ProtocolError


@pytest.fixture
def digests(client, make_tree):
    """Two revisions of demo/x on the site; the second one is latest."""
    found = []
    for number in range(2):
        client.build("demo/x", make_tree({"a": b"%d" % number}), raw=True)
        found.append(client.push("demo/x").digest)
    return found


@pytest.fixture
def named(site, digests):
    """The first revision has a tag and a version."""
    site.tags["demo/x", "good/one"] = "never asked for"
    site.tags["demo/x", "reviewed"] = digests[0]
    site.more.versions["demo/x"] = {"1.0": digests[0]}
    return digests


@pytest.mark.parametrize("text", ["reviewed", "1.0", "{0}", "{0:.6}"])
def test_a_tag_takes_whatever_names_a_revision(site, client, named, text):
    digest = client.tags.add("demo/x", "new", text.format(named[0].upper()) if "{" in text else text)
    assert digest == named[0]
    assert site.tags["demo/x", "new"] == named[0]


def test_a_tag_that_looks_like_a_digest_wins(site, client, named):
    site.tags["demo/x", named[1][:6]] = named[0]
    assert client.tags.add("demo/x", "new", named[1][:6]) == named[0]


def test_what_names_no_revision_is_said(site, client, digests):
    for nothing in ("nope", "abcdef123", "9.9"):
        with pytest.raises(ConfigurationError, match="no tag, no version and no revision"):
            client.tags.add("demo/x", "new", nothing)
    with pytest.raises(NotFound, match="does not exist"):
        client.tags.add("demo/none", "new")
    assert site.tags == {}


def test_tags_on_the_command_line(site, pulsar, digests):
    old, new = digests
    assert pulsar("tag", "add", "demo/x", "good", old[:8]) == (
        0,
        "",
        f"The tag good of demo/x names {old[:12]}.\n",
    )
    assert pulsar("tag", "list", "demo/x") == (0, f"latest  {new}\ngood    {old}\n", "")
    assert json.loads(pulsar("tag", "list", "demo/x", "--json")[1])["tags"][1] == {
        "tag": "good",
        "digest": old,
    }
    added = pulsar("tag", "add", "demo/x", "good", "--json")
    assert (added[0], json.loads(added[1])["digest"], added[2]) == (0, new, "")
    assert pulsar("tag", "remove", "demo/x", "good")[0] == 0
    status, out, err = pulsar("tag", "remove", "demo/x", "good")
    assert (status, out, err) == (1, "", "pulsar: Package demo/x tag 'good' does not exist\n")


def test_versions_on_the_command_line(site, pulsar, digests):
    old, new = digests
    assert pulsar("version", "add", "demo/x", "1.0", old[:8])[0] == 0
    assert pulsar("version", "add", "demo/x", "2.0")[2] == f"The version 2.0 of demo/x names {new[:12]}.\n"
    assert pulsar("version", "list", "demo/x") == (0, f"1.0  {old}\n2.0  {new}\n", "")
    assert pulsar("version", "add", "demo/x", "2.0", old) == (1, "", "pulsar: Version already exists\n")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "\udcff"])
def test_a_name_cannot_lead_to_another_address(site, client, digests, name):
    site.requests.clear()
    for call in (
        lambda: client.tags.add("demo/x", name, digests[0]),
        lambda: client.tags.remove("demo/x", name),
        lambda: client.versions.add("demo/x", name, digests[0]),
        lambda: client.access.remove("demo/x", name),
        lambda: client.install("demo/x", version=name),
        lambda: client.diff("demo/x", name),
    ):
        with pytest.raises(ConfigurationError):
            call()
    assert site.requests == []


@pytest.mark.parametrize(
    "answer", [{}, {"tags": {}}, {"tags": [5]}, {"tags": [{"tag": "a", "hash": "x"}]}, []]
)
def test_names_that_name_nothing_are_refused(site, client, answer):
    site.more.answers["GET /api/tag/demo/x/"] = (200, answer)
    with pytest.raises(ProtocolError):
        client.tags.list("demo/x")


def test_a_package_is_deleted_when_its_name_is_typed(site, pulsar, digests):
    asked = f"Type demo/x to delete it from {site.url} for good: "
    status, out, err = pulsar("delete", "demo/x", stdin="demo/y\n")
    assert (status, out, err) == (1, "", f"{asked}pulsar: Nothing was changed: 'demo/x' was not typed.\n")
    assert pulsar("delete", "demo/x")[0] == 1  # Nobody is there.
    assert "demo/x" in site.access
    assert pulsar("delete", "demo/x", stdin="demo/x\n") == (0, "", f"{asked}Deleted demo/x on the site.\n")
    assert "demo/x" not in site.access
    assert pulsar("delete", "demo/x", "--yes")[:2] == (1, "")


def test_what_was_done_by_an_attempt_whose_answer_was_lost_is_no_error(site, client, named):
    for call in (
        lambda: client.tags.remove("demo/x", "reviewed"),
        lambda: client.versions.add("demo/x", "2.0"),
        lambda: client.access.add("demo/x", "bob"),
        lambda: client.access.remove("demo/x", "bob"),
        lambda: client.delete("demo/x"),
    ):
        site.lose_answer = True
        call()
        assert not site.lose_answer
    assert "demo/x" not in site.access


def test_a_version_of_somebody_else_is_still_a_conflict(site, client, named):
    client.registry.http._backoff = 0
    site.busy = [504]  # Whatever is behind may have done it.
    with pytest.raises(Conflict):
        client.versions.add("demo/x", "1.0", named[1])


@pytest.mark.parametrize(
    "options", [["-t", "reviewed"], ["-v", "1.0"], ["-x", "{:.6}"], ["--version", "1.0"]]
)
def test_install_takes_a_tag_a_version_or_a_digest(pulsar, named, options):
    given = [option.format(named[0]) for option in options]
    assert pulsar("install", "demo/x", *given)[:2] == (0, f"{named[0]}\n")
    assert pulsar("install", "demo/x")[1] == f"{named[1]}\n"


def test_a_revision_is_chosen_in_one_way(site, pulsar, client, named):
    for command, more in (("install", "demo/x"), ("url", "demo/x/a")):
        status, out, err = pulsar(command, more, "-t", "reviewed", "-v", "1.0")
        assert (status, out) == (2, "")
        assert "one" in err
    assert pulsar("url", "demo/x/a", "-v", "1.0")[0] == 0
    assert site.linked[-1][2] == "1.0"


def test_an_older_local_revision_is_pushed_and_verified(site, client, pulsar, named):
    old, new = named
    assert client.push("demo/x", digest=old[:10], tag="again").digest == old
    assert (site.tags["demo/x", "again"], site.latest["demo/x"]) == (old, new)
    assert client.verify("demo/x", digest=old[:6].upper()).digest == old
    assert pulsar("push", "demo/x", "-x", old, "-q")[0] == 0
    assert site.latest["demo/x"] == old
    assert pulsar("verify", "demo/x", "-x", "abcdef") == (
        1,
        "",
        "pulsar: demo/x has no revision abcdef here.\n",
    )
    assert pulsar("verify", "-x", old)[0] == 2
