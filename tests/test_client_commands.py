"""What the client does besides push and install, against a running site with a worker."""

import json
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from pulsar_client.client import Client
from pulsar_client.errors import ConfigurationError, Conflict, NotFound, Unauthenticated


def test_the_client_and_a_site_agree(start_site, wait_until, tmp_path):
    site = start_site()
    admin = site.person("admin", tmp_path / "home")
    with Client(site.url, admin.key, admin.home) as client:
        first, second = push_two_revisions(client, tmp_path / "flights.csv")
        revisions_have_names(client, first, second)
        revisions_are_inspected(client, wait_until, tmp_path, first)
        jobs_are_shown(client, wait_until)
        packages_are_deleted(client)
        what_signing_in_made_ends_at_logout(site, client, tmp_path)
        keys_end_when_asked_to(site, client)


def push_two_revisions(client, table):
    digests = []
    for rows in ("1,x\n", "1,x\n2,y\n"):
        table.write_text(f"a,b\n{rows}")
        client.build("admin/flights", table)
        digests.append(client.push("admin/flights").digest)
    return digests


def revisions_have_names(client, first, second):
    name = "admin/flights"
    assert client.tags.add(name, "reviewed", first[:8]) == first
    assert client.tags.list(name) == {"latest": second, "reviewed": first}
    assert client.versions.add(name, "1.0", "reviewed") == first
    assert client.versions.add(name, "2.0rc1") == second
    assert client.versions.list(name) == {"1.0": first, "2.0rc1": second}
    assert client.tags.add(name, "reviewed", "v2.0.rc1") == second  # equal by PEP 440
    assert client.install(name, version="1.0").digest == first
    assert client.install(name, tag="reviewed").digest == second
    with pytest.raises(Conflict, match="Version already exists"):
        client.versions.add(name, "1.0.0", second)
    with pytest.raises(ConfigurationError, match="no tag, no version and no revision"):
        client.tags.add(name, "other", "not a version")
    client.tags.remove(name, "reviewed")
    with pytest.raises(NotFound, match="tag 'reviewed' does not exist"):
        client.tags.remove(name, "reviewed")


def revisions_are_inspected(client, wait_until, tmp_path, first):
    assert client.inspect("admin/flights", version="1.0").digest == first
    with Client(client.settings.url, client.settings.key, tmp_path / "elsewhere") as other:

        def shape():
            return other.inspect("admin/flights/flights.csv", tag="latest").entries[0].shape

        wait_until(lambda: shape() is not None)  # The site looks at a table in a job.
        assert shape().rows == 2
        assert [column["name"] for column in shape().columns] == ["a", "b"]
        assert other.list_local() == []


def jobs_are_shown(client, wait_until):
    wait_until(lambda: client.jobs.list(kind="registry.describe", state="done"))
    job = client.jobs.list(kind="registry.describe", state="done", limit=1)[0]
    assert client.jobs.get(job.id) == job
    assert job.finished >= job.started >= job.created > 1.7e9
    with pytest.raises(Conflict):
        client.jobs.cancel(job.id)
    with pytest.raises(NotFound, match="does not exist"):
        client.jobs.get(999_999)


def packages_are_deleted(client):
    client.delete("admin/flights")
    with pytest.raises(NotFound):
        client.delete("admin/flights")
    assert client.list_remote("admin") == []
    assert client.verify("admin/flights").ok


def what_signing_in_made_ends_at_logout(site, client, tmp_path):
    form = urlencode({"refresh_token": client.settings.key}).encode()
    with urlopen(f"{site.url}/api/token", form, timeout=30) as answer:
        token = json.load(answer)["access_token"]
    with Client(site.url, token, tmp_path / "token") as signed_in:
        assert signed_in.login() == "admin"
        assert signed_in.logout().revoked
        with pytest.raises(Unauthenticated):
            signed_in.whoami()


def keys_end_when_asked_to(site, client):
    client.login()
    assert not client.logout().revoked
    assert client.whoami()["username"] == "admin"
    client.login()
    assert client.logout(revoke=True).revoked
    with pytest.raises(Unauthenticated):
        client.whoami()
