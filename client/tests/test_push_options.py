"""What a push moves, expects and tells besides the data."""

import subprocess

import pytest

from pulsar_client import cli, errors


@pytest.fixture
def folder(make_tree):
    return make_tree({"a.csv": b"x\n1\n", "b": b"2"})


@pytest.fixture
def built(client, folder):
    return client.build("demo/x", folder)


@pytest.fixture
def change(client, folder):
    """``change()``: another revision in the local store; its digest."""

    def make():
        (folder / "b").write_bytes((folder / "b").read_bytes() + b"!")
        return client.build("demo/x", folder).digest

    return make


def test_the_tag_moves_in_the_request_that_pushes(site, client, built):
    client.push("demo/x")
    assert site.latest == {"demo/x": built.digest}
    assert site.count("PUT /api/tag/.*") == 0


@pytest.mark.parametrize("plain", [True, False])
def test_where_the_site_cannot_the_tag_follows(site, client, built, plain):
    site.plain, site.features = plain, ["missing", "pack", "fetch"]
    client.push("demo/x", message="what it is")
    assert site.latest == {"demo/x": built.digest}
    assert site.requests[-1] == "PUT /api/tag/demo/x/latest"
    assert site.pushes[-1]["description"] == "what it is"
    assert not {"tag", "message", "provenance"} & site.pushes[-1].keys()


def test_another_tag_leaves_latest_alone(site, client, built, change):
    client.push("demo/x")
    second = change()
    assert not client.push("demo/x", tag="reviewed").unchanged
    assert client.push("demo/x", tag="reviewed").unchanged
    assert (site.latest["demo/x"], site.tags["demo/x", "reviewed"]) == (built.digest, second)


@pytest.mark.parametrize("length", [6, 64])
def test_a_push_from_where_it_is_expected(site, client, built, change, length):
    client.push("demo/x", expect="none")
    second = change()
    assert client.push("demo/x", expect=built.digest[:length].upper()).digest == second
    assert (site.pushes[0]["expect"], site.pushes[1]["expect"]) == (None, built.digest)
    assert site.latest["demo/x"] == second


@pytest.mark.parametrize("expect", ["none", "0" * 64, "000000"])
def test_nothing_is_sent_when_the_tag_is_elsewhere(site, client, built, change, expect):
    client.push("demo/x")
    change()
    site.requests.clear()
    with pytest.raises(errors.Conflict, match=f"names {built.digest[:12]}"):
        client.push("demo/x", expect=expect)
    assert {request.partition(" ")[0] for request in site.requests} == {"GET"}
    assert site.latest["demo/x"] == built.digest


def test_no_tag_yet_is_not_what_was_expected(site, client, built):
    with pytest.raises(errors.Conflict, match="does not exist"):
        client.push("demo/x", expect=built.digest)


@pytest.mark.parametrize("expect", ["", "12345", "latest", "0" * 65])
def test_an_expectation_that_cannot_be_meant(client, built, expect):
    with pytest.raises(errors.ConfigurationError):
        client.push("demo/x", expect=expect)


def test_a_site_that_does_not_compare_is_not_asked_to(site, client, built):
    site.features.remove("tag")
    with pytest.raises(errors.ConfigurationError, match="without expect"):
        client.push("demo/x", expect="none")
    assert site.pushes == []


def test_a_push_whose_answer_was_lost_is_no_conflict(site, client, built):
    site.lose_answer = True
    assert client.push("demo/x", expect="none").digest == built.digest
    assert site.count("PUT /api/package/.*") == 2
    assert len(site.pushes) == 1


def test_a_tag_that_somebody_else_moves_meanwhile_is_a_conflict(site, client, built, change, monkeypatch):
    client.push("demo/x")
    change()
    send = client.registry.list_missing

    def send_slowly(*arguments):
        site.latest["demo/x"] = "0" * 64
        return send(*arguments)

    monkeypatch.setattr(client.registry, "list_missing", send_slowly)
    with pytest.raises(errors.Conflict):
        client.push("demo/x", expect=built.digest)
    assert site.latest["demo/x"] == "0" * 64


def test_description_and_message_are_two_things(site, client, built):
    client.push("demo/x", description="what it is", message="why now")
    assert (site.pushes[0]["description"], site.pushes[0]["message"]) == ("what it is", "why now")
    assert client.log("demo/x")[0].message == "why now"


def test_the_provenance_is_what_the_build_knew(site, client, folder, change, tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    repository.mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()
    (repository / "below").mkdir()
    monkeypatch.chdir(repository / "below")

    first = client.build("demo/x", folder, command=["make", "data"]).digest
    client.push("demo/x")
    told = client.log("demo/x")[0].provenance
    assert told.pop("client").startswith("pulsar-client ")
    assert told.pop("transform").startswith("csv:1:pyarrow-")
    assert told == {"command": ["make", "data"], "git_commit": commit}

    # Building the same again, elsewhere, does not make it another's.
    monkeypatch.chdir(tmp_path)
    assert client.build("demo/x", folder).digest == first
    client.push("demo/x", message="again")
    assert client.log("demo/x")[0].provenance["git_commit"] == commit

    change()
    client.push("demo/x")
    told = client.log("demo/x")[0].provenance
    assert (told["parent"], told.get("git_commit"), told.get("command")) == (first, None, None)

    client.push("demo/x", message="quiet", provenance=False)
    assert site.pushes[-1]["provenance"] == {}


def test_a_lost_or_damaged_note_costs_nothing_but_itself(site, client, built):
    for path in client.store.cache.glob("provenance-*.json"):
        path.write_bytes(b"{")
    client.push("demo/x")
    assert site.pushes[0]["provenance"].keys() == {"client"}


def test_a_command_of_thousands_of_words_is_cut(site, client, folder):
    client.build("demo/x", folder, command=["x" * 1000] * 1000)
    client.push("demo/x")
    told = site.pushes[0]["provenance"]["command"]
    assert told == [*["x" * 500] * 50, "... and 950 more"]


def test_the_command_line(site, folder, tmp_path, capsys, monkeypatch):
    for name, value in {"URL": site.url, "KEY": site.key, "HOME": str(tmp_path / "cli")}.items():
        monkeypatch.setenv(f"PULSAR_CLIENT_{name}", value)

    def pulsar(*arguments):
        status = cli.run(arguments)
        return status, capsys.readouterr()

    assert pulsar("build", "demo/x", str(folder), "--raw")[0] == 0
    assert pulsar("push", "demo/x", "-m", "one\ntwo", "-t", "beta", "--expect", "none")[0] == 0
    assert site.pushes[0]["provenance"]["command"] == ["pulsar", "build", "--raw", "demo/x", str(folder)]
    status, output = pulsar("push", "demo/x", "-t", "beta", "--expect", "none")
    assert (status, output.err.count("\n")) == (1, 1)
    assert "names" in output.err
    assert pulsar("log", "demo/x")[1].out.endswith("  1.0  one\n")
    assert pulsar("push", "demo/x", "--no-provenance", "--description", "d")[0] == 0
    assert (site.pushes[1]["provenance"], site.pushes[1]["description"]) == ({}, "d")
    assert pulsar("push", "demo/x", "--expect", "x")[0] == 2


def test_a_push_that_the_quota_has_no_room_for_sends_nothing(site, client, make_tree):
    """Each of the two questions alone would fit."""
    client.build("demo/q", make_tree({str(n): b"%d" % n * 100 for n in range(50)}, name="many"))
    site.quota = 8_500
    with pytest.raises(errors.TooLarge, match="There is no room") as refused:
        client.push("demo/q")
    assert refused.value.code == "over_quota"
    assert site.requests[1:] == ["POST /api/objects/heads"] * 2
    assert site.blobs == {}


@pytest.mark.parametrize("room", [6_999, 7_000])
def test_small_and_large_blobs_fill_the_quota_together(site, client, make_tree, room):
    client.build("demo/q", make_tree({"small": b"s" * 1_000, "large": b"l" * 6_000}, name="both"), raw=True)
    site.quota = room
    if room == 7_000:
        assert client.push("demo/q").sent == 2
    else:
        with pytest.raises(errors.TooLarge):
            client.push("demo/q")
        assert site.blobs == {}
    assert site.requests[1:3] == ["POST /api/objects/heads", "POST /api/objects/missing"]


@pytest.mark.parametrize("has_quotas", [True, False])
def test_a_site_that_knows_no_heads_is_asked_for_links(site, client, make_tree, has_quotas):
    client.build("demo/q", make_tree({str(n): b"%d" % n * 100 for n in range(50)}, name="many"))
    site.features = [name for name in site.features if name != "heads" and (has_quotas or name != "quota")]
    if has_quotas:
        site.quota = 8_500
        with pytest.raises(errors.TooLarge):
            client.push("demo/q")
        site.quota = 100_000
    assert client.push("demo/q").sent == 50
    assert site.count("POST /api/objects/missing") == (4 if has_quotas else 2)
    assert site.count("POST /api/objects/heads") == 0
    assert site.count("PUT /blob/.*") == 0


def test_a_site_without_quotas_is_not_told_of_packages(site, client, built):
    site.features.remove("quota")
    assert client.push("demo/x").sent == 2
