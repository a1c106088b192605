"""One local store, several processes; what goes and what stays in it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from pulsar_client.client import Client
from pulsar_client.errors import ConfigurationError, NotInstalled, StoreError
from pulsar_client.handles import Handle

LIMIT = 60  # s; everything here takes about one
X, Y = Handle("demo", "x"), Handle("demo", "y")


@pytest.fixture
def begin(site, tmp_path):
    """``begin("build", ...)``: the command as a process of its own, at home where ``client`` is."""
    begun = []

    def run(*arguments):
        env = {**os.environ, "PULSAR_CLIENT_HOME": str(tmp_path / "home")}
        env |= {"PULSAR_CLIENT_URL": site.url, "PULSAR_CLIENT_KEY": site.key}
        command = [sys.executable, "-c", "from pulsar_client.cli import main; main()", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        begun.append(subprocess.Popen(command, env=env, text=True, **pipes))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def gate(site):
    """``gate("GET /path")``: the site waits before it answers; ``reached`` and ``open`` are events."""

    class Gate:
        def __init__(self):
            self.reached, self.open = threading.Event(), threading.Event()

        def __call__(self, call):
            site.more.before[call] = self.wait

        def wait(self):
            self.reached.set()
            self.open.wait(LIMIT)

    found = Gate()
    yield found
    found.open.set()


@pytest.fixture
def pushed(site, make_client, make_tree):
    """demo/x and demo/y on the site, from elsewhere; both have the blob ``common``."""
    elsewhere = make_client("elsewhere")
    common = b"common" * 1000
    elsewhere.build("demo/x", make_tree({"common": common, "small": b"x"}, "x"), raw=True)
    elsewhere.build("demo/y", make_tree({"common": common, "large": b"y" * 5000}, "y"), raw=True)
    elsewhere.push("demo/x")
    elsewhere.push("demo/y")
    return {
        name: hashlib.sha256(data).hexdigest() for name, data in (("common", common), ("large", b"y" * 5000))
    }


def ends(*processes):
    """The errors of processes that have to succeed."""
    done = [process.communicate(timeout=LIMIT)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), done
    return done


def list_blobs(client):
    return {path.name for path in client.store.blobs.iterdir()}


def test_builds_of_one_package_at_once_all_become_revisions(begin, client, make_tree):
    trees = [
        make_tree({"same": b"same" * 999, "own": b"%d" % n, "t.csv": b"a\n1\n"}, f"t{n}") for n in range(4)
    ]

    ends(*[begin("build", "demo/x", "--raw", tree) for tree in trees])

    revisions = client.store.list_revisions(X)
    assert len(revisions) == 4
    assert client.store.get_latest(X) in revisions
    needed = {digest for revision in revisions for digest in names(client, revision)}
    assert needed == list_blobs(client)
    assert client.verify("demo/x").ok
    assert list(client.store.temporary.iterdir()) == []


def names(client, revision):
    tree = client.store.get_tree(X, revision)
    return [digest for leaf in tree.children.values() for digest in leaf.digests]


def test_two_installs_at_once_fetch_what_is_whole(begin, client, pushed):
    ends(begin("install", "demo/y"), begin("install", "demo/y"), begin("install", "demo/x"))
    assert [result.ok for result in client.verify_all()] == [True, True]
    assert list(client.store.temporary.iterdir()) == []


def test_gc_waits_for_an_install_that_relies_on_what_no_revision_needs(begin, client, gate, pushed):
    client.install("demo/x")
    client.rm("demo/x")
    gate(f"GET /blob/{pushed['large']}")
    install = begin("install", "demo/y")
    assert gate.reached.wait(LIMIT)

    collect = begin("gc", "--grace", "0")
    said = collect.stderr.readline()
    gate.open.set()
    ends(install, collect)

    assert said == "waiting for builds and installs of other processes\n"
    assert client.verify("demo/y").ok
    assert list_blobs(client) == set(pushed.values())


def test_an_install_waits_for_gc(begin, client, pushed):
    with client.store.hold(alone=True):
        install = begin("install", "demo/y")
        assert install.stderr.readline() == "waiting for a gc of other processes\n"
        assert list_blobs(client) == set()
    ends(install)
    assert client.verify("demo/y").ok


def test_an_install_that_is_killed_leaves_nothing_but_what_the_next_one_takes_up(
    begin, client, gate, site, pushed
):
    gate(f"GET /blob/{pushed['large']}")
    install = begin("install", "demo/y")
    assert gate.reached.wait(LIMIT)
    while pushed["common"] not in list_blobs(client):
        pass  # It comes by another connection.
    install.send_signal(signal.SIGKILL)
    install.communicate()
    gate.open.set()

    assert client.list_local() == []
    kept = client.gc()
    assert (kept.blobs, kept.young) == (0, 1)
    site.requests.clear()
    assert client.install("demo/y").fetched == 1
    assert client.verify("demo/y").ok


def test_a_build_that_is_killed_leaves_the_old_revision(begin, client, make_tree):
    old = client.build("demo/x", make_tree({"a": b"old"}), raw=True).digest
    build = begin("build", "demo/x", "--raw", make_tree({"a": b"", "b": b""}))
    with client.store.lock(X):  # It cannot finish.
        os.truncate(make_tree({}) / "a", 3_000_000)
        while len(list_blobs(client)) == 1 and not list(client.store.temporary.iterdir()):
            assert build.poll() is None
        build.send_signal(signal.SIGKILL)
        build.communicate()

    assert client.store.get_latest(X) == old
    client.gc(grace=0)
    assert list(client.store.temporary.iterdir()) == []
    assert len(list_blobs(client)) == 1
    assert client.verify("demo/x").ok


def test_gc_removes_what_no_revision_needs(client, make_tree):
    for content in (b"1", b"22", b"333"):
        client.build("demo/x", make_tree({"a": content, "same": b"same"}), raw=True)
    old = client.store.list_revisions(X)
    first = next(one for one in old if hashlib.sha256(b"1").hexdigest() in names(client, one))
    client.rm("demo/x", digest=first[:8].upper())
    (client.store.temporary / "left").write_bytes(b"12345")
    (client.store.packages / "demo/x/tags" / f".{'0' * 32}").write_bytes(b"6")
    (client.store.packages / "demo/x/tags" / ".other").write_bytes(b"not ours")
    (client.store.blobs / "README").write_bytes(b"not ours")

    would = client.gc(grace=0, dry_run=True)
    assert (would.dry_run, would.blobs, would.blob_bytes, would.unfinished, would.unfinished_bytes) == (
        True, 1, 1, 2, 6
    )  # fmt: skip
    assert client.gc().young == 1
    assert (client.store.temporary / "left").exists()
    done = client.gc(grace=0)

    assert (done.blobs, done.blob_bytes, done.unfinished, done.unfinished_bytes) == (1, 1, 2, 6)
    assert len(list_blobs(client)) == 4
    assert (client.store.packages / "demo/x/tags/.other").exists()
    assert client.verify("demo/x").ok
    assert client.gc(grace=0).blobs == 0


def test_a_build_after_gc_makes_its_blobs_again(client, make_tree):
    tree = make_tree({"a": b"1"})
    client.build("demo/x", tree, raw=True)
    client.rm("demo/x")
    client.gc(grace=0)
    client.build("demo/x", tree, raw=True)
    assert client.verify("demo/x").ok


def test_gc_keeps_what_others_have_put_into_the_store(client, make_tree):
    """Packages of Quilt's teams stand beside those of no team."""
    client.build("demo/x", make_tree({"a": b"1"}), raw=True)
    (client.store.packages.parent / "Quilt").rename(client.store.packages.parent / "team")
    assert client.gc(grace=0).blobs == 0


@pytest.mark.parametrize("damage", ["{", "[]", '{"type":"ROOT"}', '{"type":"ROOT","children":{"a":5}}'])
def test_gc_removes_nothing_while_it_does_not_know_what_is_needed(client, make_tree, damage):
    digest = client.build("demo/x", make_tree({"a": b"1"}), raw=True).digest
    client.build("demo/y", make_tree({"a": b"2"}), raw=True)
    client.rm("demo/y")
    (client.store.packages / "demo/x/contents" / digest).write_text(damage)
    with pytest.raises(StoreError, match="nothing was removed"):
        client.gc(grace=0)
    assert len(list_blobs(client)) == 2
    with pytest.raises(ConfigurationError):
        client.gc(grace=float("nan"))


def test_rm_forgets_a_package_and_what_is_known_of_it(client, make_tree, site):
    client.build("demo/x", make_tree({"a": b"1"}), raw=True, command=["make"])
    client.push("demo/x")
    client.build("demo/x", make_tree({"a": b"2"}), raw=True)
    assert len(client.rm("demo/x").revisions) == 2
    assert client.list_local() == []
    assert list(client.store.cache.glob("provenance-*")) == []
    assert len(list_blobs(client)) == 2
    assert "demo/x" in site.latest
    for again in (lambda: client.rm("demo/x"), lambda: client.rm("demo/x", digest="abcdef")):
        with pytest.raises(NotInstalled):
            again()


def test_the_latest_revision_goes_with_the_package_only(client, make_tree):
    digest = client.build("demo/x", make_tree({"a": b"1"}), raw=True).digest
    with pytest.raises(StoreError, match="is the latest revision"):
        client.rm("demo/x", digest=digest)
    with pytest.raises(ConfigurationError, match="at least 6"):
        client.rm("demo/x", digest="abc")
    assert client.verify("demo/x").ok


def test_all_packages_are_verified_when_none_is_named(client, pulsar, make_tree):
    for name, content in (("x", b"1"), ("y", b"2"), ("z", b"3")):
        client.build(f"demo/{name}", make_tree({"a": content, "same": b"same"}, name), raw=True)
    assert pulsar("verify") == (0, "", "6 blobs, 15 B: all as they were.\n")
    blob = client.store.get_blob_path(hashlib.sha256(b"1").hexdigest())
    blob.chmod(0o644)
    blob.write_bytes(b"9")
    (client.store.packages / "demo/y/contents" / client.store.get_latest(Y)).write_bytes(b"{")

    status, out, err = pulsar("verify")

    assert (status, out.splitlines()[0]) == (1, f"damaged {blob.name}")
    assert "is damaged" in out.splitlines()[1]
    assert "demo/x, demo/y are damaged" in err
    results = json.loads(pulsar("verify", "--json")[1])
    assert [(one["package"], len(one["missing"]), bool(one["problem"])) for one in results] == [
        ("demo/x", 1, False), ("demo/y", 0, True), ("demo/z", 0, False)
    ]  # fmt: skip


def test_rm_and_gc_on_the_command_line(pulsar, client, make_tree):
    client.build("demo/x", make_tree({"a": b"1"}), raw=True)
    said = "Removed 1 revisions of demo/x; `pulsar gc` frees their room.\n"
    assert pulsar("rm", "demo/x") == (0, "", said)
    assert pulsar("gc")[2] == "Removed 0 blobs and 0 unfinished files, 0 B. 1 more are too young.\n"
    assert (
        pulsar("gc", "--grace", "0", "--dry-run")[2] == "Would remove 1 blobs and 0 unfinished files, 1 B.\n"
    )
    assert json.loads(pulsar("gc", "--grace", "0", "--json")[1])["blobs"] == 1
    assert pulsar("rm", "demo/x") == (1, "", "pulsar: demo/x is not in the local store.\n")
    assert pulsar("gc", "--grace", "-1")[0] == 2


def test_reading_needs_no_lock(tmp_path, make_tree):
    with Client("http://127.0.0.1:9", "key", tmp_path / "home") as client:
        client.build("demo/x", make_tree({"a": b"1"}), raw=True)
        with client.store.hold(alone=True):
            assert client.load("demo/x")["a"].path().read_bytes() == b"1"
            assert len(client.list_local()) == 1


def test_a_store_that_one_may_only_read_can_be_verified(client, make_tree, monkeypatch):
    client.build("demo/x", make_tree({"a": b"1"}), raw=True)
    (client.store.root / "locks" / "store").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)  # Whoever runs the tests may be allowed everything.
    assert client.verify("demo/x").ok
    assert not (client.store.root / "locks" / "store").exists()


def test_parts_that_are_built_at_once_are_all_in_the_latest(client, tmp_path):
    (tmp_path / "first.txt").write_text("first")
    client.build("demo/x", tmp_path / "first.txt")
    barrier = threading.Barrier(8)

    def build(number):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"part {number}")
        barrier.wait()
        client.build(f"demo/x/parts/{number}.txt", path)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(client.load("demo/x")["parts"]) == [f"{number}.txt" for number in range(8)]
