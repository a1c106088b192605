"""The calls of the published client 2.9.15 as they were seen on the wire, header by header.

Where its Python is there, the client itself is driven too: ``tests/test_quilt_client.py``.
"""

import gzip
import hashlib
import json
import re
import time
from urllib.parse import urlencode

import pytest
from registry_kit import local

from registry.manifest import top_hash

pytestmark = pytest.mark.any_database

REQUESTS = [
    ("User-Agent", "python-requests/2.27.1"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Accept", "*/*"),
    ("Connection", "keep-alive"),
]
SESSION = [
    ("User-Agent", "quilt-cli/2.9.15 (Linux 6.1.0) CPython/3.6.15"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Accept", "application/json"),
    ("Connection", "keep-alive"),
    ("Content-Type", "application/json"),
]
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
FILES = {"README": b"# Hello\n", "t": b"PAR1 not really PAR1", "empty": b""}


class Refused(Exception):
    """What the client prints, and with which status it came."""


class RecordedClient:
    """Sends what the client sends and wants of the answers what it wants."""

    def __init__(self, client, authorization=""):
        self.client, self.authorization = client, authorization
        self.expires_at = 0.0

    def login(self, line):
        headers = [*REQUESTS, ("Content-Type", "application/x-www-form-urlencoded")]
        answer = self.client.post("/api/token", data=urlencode({"refresh_token": line}), headers=headers)
        if answer.status_code != 200:
            raise Refused(answer.status_code, f"Authentication error: {answer.status_code}")
        assert "error" not in answer.json
        self.refresh_token = answer.json["refresh_token"]
        self.expires_at = answer.json["expires_at"]
        self.authorization = f"Bearer {answer.json['access_token']}"

    def call(self, method, path, body=None, *, zipped=False):
        """A call of its session; the decoded answer."""
        headers = [*SESSION, ("Authorization", self.authorization)] if self.authorization else list(SESSION)
        data = b"" if body is None else json.dumps(body).encode()
        if zipped:
            headers.append(("Content-Encoding", "gzip"))
            data = gzip.compress(data)
        if method != "GET":
            headers.append(("Content-Length", str(len(data))))
        answer = self.client.open(path, method=method, headers=headers, data=data)
        if answer.status_code == 401:
            raise Refused(401, "Authentication failed. Run `quilt login` again.")
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.json["message"])
        assert answer.status_code == 200
        assert isinstance(answer.json, dict)
        return answer.json

    def push(self, handle, tree, files, *, path="", **flags):
        """``quilt push``: the dry run, the objects, the real push, the tag."""
        asked = {"is_public": False, "is_team": False, **flags, "contents": tree, "description": ""}
        place = f"/api/package_update/{handle}/{path}" if path else f"/api/package/{handle}/{top_hash(tree)}"
        method = "POST" if path else "PUT"
        urls = self.call(method, place, {"dry_run": True, **asked, "sizes": {}}, zipped=True)["upload_urls"]
        objects = {hashlib.sha256(content).hexdigest(): content for content in files}
        assert urls.keys() == objects.keys()
        skipped = [digest for digest, pair in urls.items() if not self._upload(objects[digest], pair)]
        sizes = {digest: len(content) for digest, content in objects.items()}
        answer = self.call(method, place, {"dry_run": False, **asked, "sizes": sizes}, zipped=True)
        assert isinstance(answer["package_url"], str)
        if not path:
            self.call("PUT", f"/api/tag/{handle}/latest", {"hash": top_hash(tree)})
        return skipped

    def _upload(self, content, pair):
        if self.client.head(local(pair["head"]), headers=REQUESTS).status_code < 400:
            return False
        headers = [*REQUESTS, ("Content-Length", str(len(content)))]
        answer = self.client.put(local(pair["put"]), data=content, headers=headers)
        assert 200 <= answer.status_code < 300
        return True

    def install(self, handle, *, by="tag", name="latest", subpath="", meta_only=""):
        """``quilt install``: the tree and the bytes of the objects, by digest."""
        digest = self.call("GET", f"/api/{by}/{handle}/{name}")["hash"]
        query = urlencode({"subpath": subpath, "meta_only": meta_only})
        found = self.call("GET", f"/api/package/{handle}/{digest}?{query}")
        assert top_hash(found["contents"]) == digest, "Mismatched hash. Try again."
        assert len(found["urls"]) == len(found["sizes"])
        return found["contents"], self.fetch(found)

    def fetch(self, found):
        return {digest: self._download(url, found["sizes"][digest]) for digest, url in found["urls"].items()}

    def _download(self, url, size):
        if size == 0:
            answer = self.client.get(local(url), headers=REQUESTS)
            assert (answer.status_code, answer.data) == (200, b"")
            return b""
        # As after an interruption at half of it: it asks for its last byte once more.
        start = max(size // 2 - 1, 0)
        pieces = []
        for first in (0, start):
            answer = self.client.get(local(url), headers=[*REQUESTS, ("Range", f"bytes={first}-")])
            assert answer.status_code == 206
            match = CONTENT_RANGE.fullmatch(answer.headers["Content-Range"])
            assert [int(number) for number in match.groups()] == [first, size - 1, size]
            assert "Content-Encoding" not in answer.headers
            pieces.append(answer.data)
        assert pieces[0][start:] == pieces[1]
        return pieces[0]


def make_tree(files=FILES):
    leaves = {
        name: {
            "type": "FILE",
            "hashes": [hashlib.sha256(content).hexdigest()],
            "metadata": {"q_ext": "id", "q_path": f"{name}.x", "q_target": "file"},
        }
        for name, content in files.items()
    }
    group = {"type": "GROUP", "children": {"empty": leaves.pop("empty")}} if "empty" in leaves else None
    return {"type": "ROOT", "children": leaves | ({"g": group} if group else {})}


@pytest.fixture
def recorded(app, people):
    """``recorded("ann")``: the client after ``quilt login``; without a name, before."""

    def make(name=None):
        client = RecordedClient(app.test_client())
        if name:
            client.login(getattr(people, name).key)
        return client

    return make


def test_login_and_renewal(recorded):
    ann = recorded("ann")
    before, old = ann.expires_at, ann.refresh_token
    assert before > time.time() + 60, "or the client would renew it before every command"
    ann.login(old)
    assert ann.refresh_token != old
    with pytest.raises(Refused, match="401"):
        ann.login("nonsense")
    with pytest.raises(Refused, match="400"):
        ann.login("")


def test_what_a_build_reports(recorded):
    event = {
        "type": "build",
        "package": "8b55576aae598a2a3442443a9450e47b",
        "dry_run": False,
        "env": "default",
    }
    for name in ("ann", None):
        assert recorded(name).call("POST", "/api/log", [event]) == {}
        assert recorded(name).call("POST", "/api/log", [{**event, "error": "Failed"}]) == {}


def test_push_and_install(recorded, people):
    ann, bob = recorded("ann"), recorded("bob")
    tree = make_tree()
    assert ann.push("ann/p", tree, FILES.values()) == []
    assert len(ann.push("ann/p", tree, FILES.values())) == 3, "what is there is skipped"
    with pytest.raises(Refused, match="Package ann/p does not exist"):
        bob.install("ann/p")
    assert ann.call("PUT", "/api/access/ann/p/bob") == {}
    assert ann.call("GET", "/api/access/ann/p/") == {"users": ["ann", "bob"]}
    found, objects = bob.install("ann/p")
    assert found == tree
    assert sorted(objects.values()) == sorted(FILES.values())
    assert bob.install("ann/p", subpath="t")[1] == {hashlib.sha256(FILES["t"]).hexdigest(): FILES["t"]}
    assert bob.install("ann/p", meta_only="true")[1] == {}
    digests = [hashlib.sha256(content).hexdigest() for content in FILES.values()]
    assert len(bob.fetch(bob.call("POST", "/api/get_objects", digests))) == 3
    assert recorded("eve").call("POST", "/api/get_objects", digests) == {"urls": {}, "sizes": {}}
    assert ann.call("DELETE", "/api/access/ann/p/bob") == {}
    with pytest.raises(Refused, match="Package ann/p does not exist"):
        bob.install("ann/p")


def test_push_of_a_part(recorded):
    ann = recorded("ann")
    ann.push("ann/p", make_tree(), FILES.values())
    part = make_tree({"new": b"new"})["children"]["new"]
    ann.push("ann/p", part, [b"new"], path="g/new")
    contents, objects = ann.install("ann/p", subpath="g")
    assert contents["children"]["g"]["children"]["new"] == part
    assert sorted(objects.values()) == [b"", b"new"]


def test_names_of_revisions(recorded):
    ann = recorded("ann")
    ann.push("ann/p", make_tree(), FILES.values(), is_team=True)
    digest = top_hash(make_tree())
    assert ann.call("PUT", "/api/version/ann/p/1.0", {"hash": digest}) == {}
    assert ann.call("PUT", "/api/tag/ann/p/t", {"hash": digest}) == {}
    bob = recorded("bob")
    for by, name in (("version", "1.0"), ("tag", "t")):
        assert bob.install("ann/p", by=by, name=name)[0] == make_tree()
    assert bob.call("GET", "/api/version/ann/p/") == {"versions": [{"version": "1.0", "hash": digest}]}
    tags = [{"tag": "latest", "hash": digest}, {"tag": "t", "hash": digest}]
    assert bob.call("GET", "/api/tag/ann/p/") == {"tags": tags}
    (entry,) = bob.call("GET", "/api/log/ann/p/")["logs"]
    assert (entry["hash"], entry["author"]) == (digest, "ann")
    assert (entry["tags"], entry["versions"]) == (["latest", "t"], ["1.0"])
    assert isinstance(entry["created"], float)
    assert ann.call("DELETE", "/api/tag/ann/p/t") == {}
    with pytest.raises(Refused, match="Tag 't' does not exist"):
        bob.install("ann/p", name="t")
    with pytest.raises(Refused, match=r"Version 2\.0 does not exist"):
        bob.install("ann/p", by="version", name="2.0")
    with pytest.raises(Refused, match="Version already exists"):
        ann.call("PUT", "/api/version/ann/p/1.0", {"hash": digest})
    with pytest.raises(Refused, match="Malformed version"):
        ann.call("PUT", "/api/version/ann/p/one", {"hash": digest})


def test_the_end_of_a_package(recorded):
    ann = recorded("ann")
    ann.push("ann/p", make_tree(), FILES.values(), is_team=True)
    with pytest.raises(Refused, match="Only the package owner can delete"):
        recorded("bob").call("DELETE", "/api/package/ann/p/")
    assert ann.call("DELETE", "/api/package/ann/p/") == {}
    with pytest.raises(Refused, match="Package ann/p does not exist"):
        ann.call("DELETE", "/api/package/ann/p/")


def test_without_a_login(recorded, settings):
    nobody = recorded()
    with pytest.raises(Refused, match="quilt login"):
        nobody.install("ann/p")
    settings(REGISTRY_ALLOW_PUBLIC=True)
    ann = recorded("ann")
    ann.push("ann/p", make_tree(), FILES.values(), is_public=True)
    ann.push("ann/own", make_tree(), FILES.values())
    assert nobody.install("ann/p")[0] == make_tree()
    with pytest.raises(Refused, match=r"Package ann/own does not exist \(do you need to log in\?\)"):
        nobody.install("ann/own")
    for method, path in (("PUT", "/api/tag/ann/p/latest"), ("DELETE", "/api/package/ann/p/")):
        with pytest.raises(Refused, match="quilt login"):
            nobody.call(method, path, {"hash": top_hash(make_tree())})


def test_an_old_client_sends_the_token_without_a_word_before_it(recorded):
    ann = recorded("ann")
    ann.push("ann/p", make_tree(), FILES.values())
    ann.authorization = ann.authorization.removeprefix("Bearer ")
    assert ann.install("ann/p")[0] == make_tree()
