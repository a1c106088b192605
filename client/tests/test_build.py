import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pulsar_client import build as building
from pulsar_client import ingest
from pulsar_client.blobs import Fingerprint
from pulsar_client.errors import BuildError, ManifestError, NotEnoughSpace, TableError
from pulsar_client.manifest import Group, Leaf, walk
from pulsar_client.statcache import COARSE_TICK, FINE_TICK, is_settled

OLD = 1_600_000_000_123_456_789  # ns; a time that somebody put back after a change


def make_old(folder):
    for top, _, names in os.walk(folder):
        for name in names:
            os.utime(os.path.join(top, name), ns=(OLD, OLD))


def settle(folder):
    """Let the clock go on until any further change of a file would show in its times."""
    seen = [Fingerprint.of((Path(top) / name).stat()) for top, _, names in os.walk(folder) for name in names]
    while not all(is_settled(one, time.time_ns()) for one in seen):
        pass


opened: list[object] = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)


@contextmanager
def list_opened(folder):
    """The files below ``folder`` that were opened meanwhile."""
    found = []
    opened.clear()
    yield found
    found += [path for path in opened if isinstance(path, str) and path.startswith(f"{folder}{os.sep}")]


def list_entries(client, package="demo/x"):
    node = client.load(package)
    return {"/".join(path): leaf for path, leaf in walk(node._group) if hasattr(leaf, "digests")}


def list_nodes(client, package="demo/x"):
    return [(path, client.load(f"{package}/{path}")) for path in list_entries(client, package)]


def test_a_folder_becomes_groups_and_entries_under_their_own_names(client, make_tree):
    folder = make_tree({"a b.csv": b"x\n1\n", "sub/ü.bin": b"\0", "sub/2/class": b"", "README": b"hi"})
    (folder / "empty").mkdir()

    result = client.build("demo/x", folder)

    assert sorted(list_entries(client)) == ["README", "a b.csv", "sub/2/class", "sub/ü.bin"]
    assert list(client.load("demo/x")) == ["README", "a b.csv", "empty", "sub"]
    assert (result.entries, result.new) == (4, 4)


def test_system_metadata_is_as_quilt_writes_it(client, make_tree):
    folder = make_tree({"t/a.csv": b"x\n1\n", "b.TSV": b"x\ty\n1\t2\n", "c.bin": b"1"})

    client.build("demo/x", folder)

    assert {name: leaf.metadata for name, leaf in list_entries(client).items()} == {
        "t/a.csv": {"q_ext": "csv", "q_path": "t/a.csv", "q_target": "pandas"},
        "b.TSV": {"q_ext": "tsv", "q_path": "b.TSV", "q_target": "pandas"},
        "c.bin": {"q_ext": "id", "q_path": "c.bin", "q_target": "file"},
    }


def test_raw_keeps_files_as_they_are(client, make_tree):
    folder = make_tree({"a.csv": b"x\r\n1\r\n"})

    client.build("demo/x", folder / "a.csv", raw=True)

    assert client.load("demo/x/a.csv").path().read_bytes() == b"x\r\n1\r\n"


def test_parquet_is_taken_as_it_is_and_must_be_parquet(client, make_tree):
    folder = make_tree({"bad.parquet": b"PAR1 not really"})
    pq.write_table(pa.table({"x": [1]}), folder / "good.parquet")

    client.build("demo/x", folder / "good.parquet")
    assert client.load("demo/x/good.parquet").path().read_bytes() == (folder / "good.parquet").read_bytes()
    assert client.load("demo/x/good.parquet").table().to_pydict() == {"x": [1]}
    with pytest.raises(TableError, match=r"bad\.parquet"):
        client.build("demo/x", folder)


def test_several_paths_become_entries_under_their_names(client, make_tree):
    folder = make_tree({"one/a.bin": b"1", "b.bin": b"2", ".hidden": b"3"})

    client.build("demo/x", [folder / "one", folder / "b.bin", folder / ".hidden"])

    assert sorted(list_entries(client)) == [".hidden", "b.bin", "one/a.bin"]


def test_two_paths_of_one_name_are_refused(client, make_tree):
    folder = make_tree({"one/a.bin": b"1", "two/a.bin": b"2"})

    with pytest.raises(ManifestError, match=r"a\.bin"):
        client.build("demo/x", [folder / "one/a.bin", folder / "two/a.bin"])


def test_hidden_files_are_left_out_and_counted(client, make_tree):
    folder = make_tree({".git/config": b"", "a~": b"", "quilt_packages/x": b"", "a": b""})

    assert client.build("demo/x", folder).skipped == 3
    assert list(list_entries(client)) == ["a"]


def test_links_are_followed_but_not_in_circles(client, make_tree):
    folder = make_tree({"real/a": b"1", "data/b": b"2"}, name="top")
    (folder / "data/link").symlink_to(folder / "real")

    client.build("demo/x", folder / "data")
    assert sorted(list_entries(client)) == ["b", "link/a"]

    (folder / "data/back").symlink_to(folder / "data")
    with pytest.raises(BuildError, match="link to a folder that it is in"):
        client.build("demo/x", folder / "data")


def test_what_is_no_file_is_named(client, make_tree):
    folder = make_tree({"a": b""})
    os.mkfifo(folder / "pipe")
    with pytest.raises(BuildError, match="pipe is neither"):
        client.build("demo/x", folder)
    (folder / "pipe").unlink()
    (folder / "dead").symlink_to("nowhere")
    with pytest.raises(BuildError, match="dead cannot be read"):
        client.build("demo/x", folder)
    with pytest.raises(BuildError, match="nothing to build"):
        client.build("demo/x", [])


@pytest.mark.parametrize("name", [b"a\nb", b"\xff"])
def test_names_that_no_manifest_can_hold_are_named(client, make_tree, name):
    folder = make_tree({"ok": b""})
    (folder / os.fsdecode(name)).write_bytes(b"")

    with pytest.raises(ManifestError, match="cannot be the name"):
        client.build("demo/x", folder)


def test_equal_files_are_one_blob(client, make_tree):
    folder = make_tree({"a": b"same", "b": b"same", "c": b"same" * (1 << 19), "d": b"same" * (1 << 19)})

    client.build("demo/x", folder)

    assert len(list(client.store.blobs.iterdir())) == 2
    assert list(client.store.temporary.iterdir()) == []


def test_a_second_build_looks_at_files_without_opening_them(client, make_tree):
    folder = make_tree({f"{n % 10}/{n}.bin": b"%08d" % n for n in range(200)})
    settle(folder)
    with list_opened(folder) as read:
        first = client.build("demo/x", folder)
    with list_opened(client.store.root) as from_store:
        second = client.build("demo/x", folder)
    with list_opened(folder) as read_again:
        third = client.build("demo/x", folder)

    assert (first.new, second.new, third.new) == (200, 0, 0)
    assert (len(read), len(read_again)) == (200, 0)
    assert len(from_store) <= 3  # Nothing for each file.
    assert replace(second, new=200) == first


@pytest.mark.parametrize("change", ["size", "time", "content", "inode", "store"])
def test_a_changed_file_is_read_again(client, make_tree, change):
    folder = make_tree({"a": b"old", "other": b"x"})
    make_old(folder)
    settle(folder)
    first = client.build("demo/x", folder)
    if change == "size":
        (folder / "a").write_bytes(b"longer")
        make_old(folder)
    elif change == "time":
        (folder / "a").write_bytes(b"new")
    elif change == "content":
        (folder / "a").write_bytes(b"new")
        os.utime(folder / "a", ns=(OLD, OLD))
    elif change == "inode":
        (folder / "b").write_bytes(b"new")
        os.utime(folder / "b", ns=(OLD, OLD))
        (folder / "b").replace(folder / "a")
    else:
        client.load("demo/x/a").path().unlink()

    second = client.build("demo/x", folder)

    assert client.load("demo/x/a").path().read_bytes() == (folder / "a").read_bytes()
    assert (second.digest == first.digest) == (change == "store")
    if change != "size":  # There the time of the other was set too.
        assert second.new == 1


def test_a_file_changed_within_the_tick_of_its_reading_is_read_again(client, make_tree):
    """Again and again, as fast as can be: whatever the clock of the file system, none is missed."""
    folder = make_tree({"a": b"000"})
    for number in range(30):
        (folder / "a").write_bytes(b"%03d" % number)
        os.utime(folder / "a", ns=(OLD, OLD))
        client.build("demo/x", folder)

        assert client.load("demo/x/a").path().read_bytes() == b"%03d" % number


@pytest.mark.parametrize(
    "change", ["added", "removed", "renamed", "emptied", "hidden", "latest", "tree", "revision", "receipt"]
)
def test_a_build_is_made_again_when_anything_it_led_to_or_came_from_differs(client, make_tree, change):
    folder = make_tree({"a": b"1", "sub/b": b"2"})
    settle(folder)
    first = client.build("demo/x", folder)
    package = building.Handle("demo", "x")
    if change == "added":
        (folder / "new").mkdir()
    elif change == "removed":
        (folder / "a").unlink()
    elif change == "renamed":
        (folder / "a").rename(folder / "c")
    elif change == "emptied":
        (folder / "sub/b").unlink()
    elif change == "hidden":
        (folder / ".h").touch()
    elif change == "latest":
        client.store.put_revision(package, Group())
    elif change == "tree":
        client.store.put_revision(package, Group({"a": Leaf(("00" * 32,))}))
    elif change == "revision":
        (client.store.packages / "demo/x/contents" / first.digest).unlink()
    else:
        (receipt,) = client.store.cache.glob("built-*.json")
        receipt.write_text('{"scan": 1, "result": 5}')

    second = client.build("demo/x", folder)

    assert second.digest == client.store.get_latest(package)
    entries = {path: leaf.path().read_bytes() for path, leaf in list_nodes(client)}
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    assert entries == {str(path.relative_to(folder)): path.read_bytes() for path in files}
    assert ("new" in client.load("demo/x")) == (change == "added")
    assert second.skipped == (change == "hidden")


def test_equal_paths_of_another_package_or_kind_have_results_of_their_own(client, make_tree):
    folder = make_tree({"a.csv": b"x\n1\n", "b": b"2"})
    settle(folder)
    builds = [("demo/x", folder, False), ("demo/y", folder, False), ("demo/x", folder, True)]
    builds.append(("demo/x", [folder], True))
    builds.append(("demo/x", [folder / "b", folder], True))

    first = [client.build(package, paths, raw=raw) for package, paths, raw in builds]
    second = [client.build(package, paths, raw=raw) for package, paths, raw in builds]

    assert [result.digest for result in first] == [result.digest for result in second]
    assert [result.package for result in first] == [package for package, _, _ in builds]
    assert len({result.digest for result in first}) == 3


def test_tables_and_raw_files_are_remembered_apart(client, make_tree):
    folder = make_tree({"a.csv": b"x\n1\n"})
    settle(folder)

    results = [client.build("demo/x", folder, raw=raw) for raw in (False, True, False, True)]

    assert [result.new for result in results] == [1, 1, 0, 0]
    assert results[0].digest == results[2].digest != results[1].digest == results[3].digest


def test_a_file_just_written_is_not_trusted():
    from_tick = Fingerprint(1, 5, 1_000_000_001, 1)
    whole_second = Fingerprint(1, 5, 1_000_000_000, 1)

    assert not is_settled(from_tick, from_tick.ctime_ns + FINE_TICK)
    assert is_settled(from_tick, from_tick.ctime_ns + FINE_TICK + 1)
    assert not is_settled(whole_second, whole_second.ctime_ns + COARSE_TICK)
    assert not is_settled(Fingerprint(1, from_tick.ctime_ns, 5, 1), from_tick.ctime_ns + FINE_TICK)


def test_a_damaged_cache_only_costs_time(client, make_tree):
    folder = make_tree({"a": b"1"})
    settle(folder)
    client.build("demo/x", folder)
    for path in client.store.cache.iterdir():
        path.write_bytes(b"not a database" * 100)

    assert client.build("demo/x", folder).new == 1
    assert client.build("demo/x", folder).new == 0
    assert client.build("demo/y", folder).new == 1
    assert client.build("demo/y", folder).new == 0


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")

    with (
        path.open("rb") as file,
        pytest.raises(BuildError, match="changed while"),
        ingest.hold_still(str(path), file),
    ):
        path.write_bytes(b"22")


def test_a_failed_build_leaves_the_old_latest_and_nothing_half_done(client, make_tree):
    folder = make_tree({"a.csv": b"x\n1\n"})
    digest = client.build("demo/x", folder).digest
    make_tree({"b.csv": b"x,y\n1\n", "c.bin": b"3"})

    with pytest.raises(TableError):
        client.build("demo/x", folder)

    assert client.store.get_latest(building.Handle("demo", "x")) == digest
    assert list(client.store.temporary.iterdir()) == []


def test_a_full_disk_is_noticed_before_anything_is_read(client, make_tree):
    folder = make_tree({"a": b""})
    os.truncate(folder / "a", 1 << 43)  # A hole of 8 TiB.

    with pytest.raises(NotEnoughSpace):
        client.build("demo/x", folder)


def test_several_processes_build_into_one_store(client, make_tree, tmp_path):
    folder = make_tree({f"{n}.bin": b"%d" % n for n in range(200)})
    code = "import sys, pulsar_client as p; print(p.Client(home=sys.argv[1]).build(*sys.argv[2:]).digest)"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "home"), f"demo/x{n % 2}", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    digests = {process.communicate()[0].strip() for process in processes}

    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert digests == {client.build("demo/x0", folder).digest}
    assert client.verify("demo/x1").ok
    assert list(client.store.temporary.iterdir()) == []
