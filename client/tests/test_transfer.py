"""push and install against a real server that speaks the protocol."""

import hashlib
import random

import pytest

from pulsar_client import errors
from pulsar_client.http import Http


@pytest.fixture
def files(make_tree):
    """Small blobs that need several questions and packs, a large one, an empty one, a table."""
    small = {f"small/{n}": random.Random(n).randbytes(1_500) for n in range(50)}
    return make_tree(
        {**small, "large": random.Random(0).randbytes(100_000), "empty": b"", "t.csv": b"x\n1\n"}
    )


@pytest.fixture
def pushed(client, files):
    client.build("demo/x", files)
    return client.push("demo/x")


def get_digest(client, entry):
    return client.load(f"demo/x/{entry}").digests[0]


def test_what_is_pushed_can_be_installed_elsewhere(site, pushed, make_client, files):
    other = make_client("other")

    result = other.install("demo/x")

    assert result.digest == pushed.digest
    assert other.load("demo/x/large").path().read_bytes() == (files / "large").read_bytes()
    assert other.load("demo/x/empty").path().read_bytes() == b""
    assert other.load("demo/x/t.csv").table().to_pydict() == {"x": [1]}
    assert other.verify("demo/x").ok
    assert result.fetched == pushed.sent == 53
    assert list(other.store.temporary.iterdir()) == []


def test_small_blobs_travel_together(site, pushed):
    assert site.count("POST /api/objects/heads") == 2  # 52 digests, 40 in one question
    assert site.count("POST /api/objects/missing") == 1  # the large one wants a link
    assert site.count("PUT /blob/.*") == 1  # the large one
    assert 4 <= site.count("POST /api/objects/pack") <= 6  # 50 x 1,500 bytes, 20,000 in one pack


def test_small_blobs_are_fetched_together_where_the_site_can(site, pushed, make_client):
    make_client("other").install("demo/x")

    assert site.count("GET /blob/.*") == 1
    assert 4 <= site.count("POST /api/objects/fetch") <= 6


def test_a_site_without_fetch_serves_each_blob(site, pushed, make_client):
    site.features.remove("fetch")

    assert make_client("other").install("demo/x").fetched == 53
    assert site.count("GET /blob/.*") == 52  # An empty blob needs no request.


def test_the_second_push_costs_one_request_and_sends_nothing(site, client, pushed, make_client):
    site.requests.clear()
    again = make_client().push("demo/x")

    assert again.unchanged
    assert again.sent == 0
    assert site.requests == ["GET /api/tag/demo/x/latest"]


def test_a_push_with_a_message_is_made_even_if_nothing_else_changed(site, client, pushed):
    again = client.push("demo/x", message="why", public=True)

    assert (again.unchanged, again.sent) == (False, 0)
    assert site.pushes[-1]["message"] == "why"
    assert site.pushes[-1]["is_public"] is True


def test_a_revision_with_other_system_metadata_is_pushed_again(site, client, make_tree):
    folder = make_tree({"t.parquet": b""}, name="p")
    client.build("demo/y", folder, raw=True)
    client.push("demo/y")
    tree = client.store.get_tree(*(handle := client.store.list_packages()), client.store.get_latest(*handle))
    tree.children["t.parquet"].metadata["q_ext"] = "other"
    client.store.put_revision(*handle, tree)

    assert not client.push("demo/y").unchanged
    assert site.pushes[-1]["contents"]["children"]["t.parquet"]["metadata"]["q_ext"] == "other"


def test_another_latest_on_the_site_is_replaced(site, client, pushed):
    site.latest["demo/x"] = "0" * 64

    assert not client.push("demo/x").unchanged
    assert site.latest["demo/x"] == pushed.digest


def test_only_new_blobs_are_sent(site, client, pushed, files):
    (files / "new").write_bytes(b"new")
    client.build("demo/x", files)

    assert client.push("demo/x").sent == 1


def test_a_push_that_broke_in_the_middle_goes_on(site, client, files):
    client.build("demo/x", files)
    site.fail_after_packs = 2
    with pytest.raises(errors.SiteFailure):
        client.push("demo/x")
    assert "demo/x" not in site.latest
    there = len(site.blobs)
    site.fail_after_packs = None

    result = client.push("demo/x")

    assert there >= 2
    assert result.sent == 53 - there
    assert site.latest["demo/x"] == result.digest


def test_a_plain_quilt_registry_is_served_by_the_old_calls(site, client, files, make_client):
    site.plain = True
    client.build("demo/x", files)

    first = client.push("demo/x", team=True)
    (files / "new").write_bytes(b"new")
    client.build("demo/x", files)
    second = client.push("demo/x")

    assert (first.sent, second.sent) == (53, 1)
    assert site.count("POST /api/objects/.*") == 0
    assert set(site.authorizations) == {"Bearer secret-key"}
    assert make_client("other").install("demo/x").fetched == 54


@pytest.mark.parametrize("entry", ["small/1", "large"])
def test_damaged_local_bytes_are_not_taken_for_the_sites_fault(client, files, entry):
    client.build("demo/x", files)
    path = client.load(f"demo/x/{entry}").path()
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes(len(good)))

    with pytest.raises(errors.BlobDamaged, match="changed while it was sent"):
        client.push("demo/x")

    path.write_bytes(good)
    assert client.push("demo/x").digest


def test_a_blob_that_became_shorter_is_noticed(client, files):
    client.build("demo/x", files)
    path = client.load("demo/x/large").path()
    path.chmod(0o644)
    path.write_bytes(b"short")

    with pytest.raises(errors.BlobDamaged, match="changed while it was sent"):
        client.push("demo/x")


def test_a_busy_site_is_asked_again(site, client, pushed, make_client):
    site.busy = [503, 429, 502]

    assert make_client("other").install("demo/x").fetched == 53


def test_a_site_that_wants_us_to_wait_for_hours_is_not_waited_for(site, client):
    site.busy, site.retry_after = [429], "7200"

    with pytest.raises(errors.RateLimited, match="busy"):
        client.whoami()


def test_no_answer_is_one_clear_error(client, site):
    http = Http("http://127.0.0.1:9", backoff=0.0)

    with pytest.raises(errors.ConnectionFailed, match=r"127\.0\.0\.1:9 does not answer"):
        http.get_json("GET", "/")
    http.close()


def test_a_wrong_key_is_the_servers_own_sentence(site, make_client):
    with pytest.raises(errors.Unauthenticated, match="Invalid authorization"):
        make_client(key="wrong").whoami()


def test_a_download_that_breaks_goes_on_in_the_middle(site, pushed, make_client, files):
    site.cut_after = 30_000
    other = make_client("other")

    other.install("demo/x")

    assert other.load("demo/x/large").path().read_bytes() == (files / "large").read_bytes()
    assert site.count("GET /blob/.*") == 2


def test_an_interrupted_install_uses_what_an_earlier_one_left(site, client, pushed, make_client, files):
    other = make_client("other")
    data = (files / "large").read_bytes()
    digest = get_digest(client, "large")
    part = other.store.temporary / f"{digest}.part"
    part.write_bytes(data[:60_000])
    sent = []
    other._progress.advance = sent.append

    other.install("demo/x")

    assert other.load("demo/x/large").path().read_bytes() == data
    assert sum(sent) == sum(len(blob) for blob in site.blobs.values()) - 60_000
    assert not part.exists()


@pytest.mark.parametrize("left", [b"wrong" * 100, b"x" * 200_000])
def test_a_wrong_part_does_not_become_a_blob(site, client, pushed, make_client, left):
    other = make_client("other")
    digest = get_digest(client, "large")
    (other.store.temporary / f"{digest}.part").write_bytes(left)

    if len(left) < 100_000:
        with pytest.raises(errors.DigestMismatch):
            other.install("demo/x")
        assert other.ls() == []
    assert other.install("demo/x").digest == pushed.digest


def test_a_site_that_ignores_ranges_is_understood(site, client, pushed, make_client, files):
    site.forget_range = True
    other = make_client("other")
    (other.store.temporary / f"{get_digest(client, 'large')}.part").write_bytes(b"x" * 50)

    other.install("demo/x")

    assert other.verify("demo/x").ok


@pytest.mark.parametrize("entry", ["large", "small/3"])
def test_wrong_bytes_never_become_visible(site, client, pushed, make_client, entry):
    digest = get_digest(client, entry)
    site.spoil[digest] = bytes(len(site.blobs[digest]))
    other = make_client("other")

    with pytest.raises(errors.DigestMismatch):
        other.install("demo/x")

    assert other.ls() == []
    assert other.store.find_blob_size(digest) is None
    site.spoil.clear()
    assert other.install("demo/x").digest == pushed.digest


def test_more_bytes_than_promised_are_not_written(site, client, pushed, make_client):
    site.spoil[get_digest(client, "large")] = bytes(5_000_000)
    site.forget_range = True

    with pytest.raises(errors.DigestMismatch, match="more bytes"):
        make_client("other").install("demo/x")


def test_a_package_too_large_for_the_disk_is_refused_before_it_is_fetched(site, client, pushed, make_client):
    site.sizes[get_digest(client, "large")] = 1 << 60
    site.requests.clear()

    with pytest.raises(errors.NotEnoughSpace):
        make_client("other").install("demo/x")
    assert site.count(".* /blob/.*") == 0


@pytest.mark.parametrize(
    "tree",
    [
        {"type": "ROOT", "children": {"../../evil": {"type": "FILE", "hashes": ["1" * 64]}}},
        {"type": "ROOT", "children": {"a": {"type": "FILE", "hashes": ["../../../etc/passwd"]}}},
        {"type": "ROOT", "children": {}},
        "text",
    ],
)
def test_a_hostile_tree_is_refused(site, pushed, make_client, tree):
    site.trees["demo/x", pushed.digest] = tree
    other = make_client("other")

    with pytest.raises(errors.ProtocolError):
        other.install("demo/x")
    assert other.ls() == []


def test_a_part_of_a_package_can_be_installed(site, pushed, make_client):
    other = make_client("other")

    result = other.install("demo/x/t.csv")

    assert result.fetched == 1
    assert other.load("demo/x/t.csv").table().num_rows == 1
    with pytest.raises(errors.NotInstalled, match="install it"):
        other.load("demo/x/large").path()
    with pytest.raises(errors.NotFound):
        other.install("demo/x/nothing")


def test_a_revision_is_chosen_by_digest_short_digest_or_tag(site, client, pushed, files, make_client):
    (files / "new").write_bytes(b"new")
    client.build("demo/x", files)
    newer = client.push("demo/x")
    other = make_client("other")

    assert other.install("demo/x", digest=pushed.digest).digest == pushed.digest
    assert other.install("demo/x", digest=pushed.digest[:8].upper()).digest == pushed.digest
    assert other.install("demo/x", tag="latest").digest == newer.digest
    with pytest.raises(errors.NotFound):
        other.install("demo/x", tag="none")
    for choice in ({"digest": "0" * 8}, {"digest": "abc"}, {"digest": "0" * 64, "tag": "latest"}):
        with pytest.raises(errors.ConfigurationError):
            other.install("demo/x", **choice)


def test_an_unknown_package_is_the_servers_own_sentence(site, client):
    with pytest.raises(errors.NotFound, match="Package demo/none does not exist"):
        client.install("demo/none")


def test_access_log_and_lists(site, client, pushed):
    client.access.add("demo/x", "bob")
    assert client.access.list("demo/x") == ["demo", "bob"]
    with pytest.raises(errors.Conflict, match="already has access"):
        client.access.add("demo/x", "bob")
    client.access.remove("demo/x", "bob")
    assert client.access.list("demo/x") == ["demo"]
    assert client.ls("demo") == [{"name": "x", "is_public": True, "is_team": False}]
    client.push("demo/x", message="again")
    assert [entry.created_at for entry in client.log("demo/x")] == [2.5, 1.5]
    with pytest.raises(errors.ConfigurationError):
        client.ls("../x")


def test_verify_takes_damaged_blobs_out_and_install_puts_good_ones_in(client, pushed):
    path = client.load("demo/x/large").path()
    path.chmod(0o644)
    path.write_bytes(b"flipped")
    client.load("demo/x/small/1").path().unlink()

    result = client.verify("demo/x")

    assert (len(result.damaged), len(result.missing)) == (1, 1)
    assert not path.exists()
    assert client.install("demo/x").fetched == 2
    assert client.verify("demo/x").ok
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_public_and_team_at_once_is_a_usage_error(client, pushed):
    with pytest.raises(errors.ConfigurationError):
        client.push("demo/x", public=True, team=True)
