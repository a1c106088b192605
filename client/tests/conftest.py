"""A home folder, a client, and a small site that speaks the registry protocol over real connections."""

import gzip
import hashlib
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote

import more_calls
import pytest
from click.testing import CliRunner

from pulsar_client import cli
from pulsar_client.client import Client
from pulsar_client.errors import ManifestError
from pulsar_client.manifest import get_top_digest, list_blobs, parse
from pulsar_client.packs import HEADER_BYTES, make_header

LIMITS = {"missing_objects": 40, "pack_bytes": 20_000, "pack_object_bytes": 2_000}


class Site:
    """The state of the small site, and knobs for what shall go wrong."""

    def __init__(self):
        self.key = "secret-key"
        self.plain = False  # answer like a Quilt 2 registry
        self.features = ["missing", "heads", "pack", "fetch", "tag", "provenance", "quota"]
        self.blobs = {}
        self.trees = {}
        self.latest = {}
        self.tags = {}  # (package, tag) -> digest, of other tags
        self.pushes = []
        self.access = {}
        self.requests = []  # "METHOD /path" of everything that arrived
        self.authorizations = []
        self.busy = []  # statuses to answer with first, once each
        self.retry_after = "0"
        self.cut_after = None  # bytes of a download after which the connection breaks, once
        self.spoil = {}  # digest -> bytes to send instead
        self.sizes = {}  # digest -> size to claim instead
        self.forget_range = False
        self.quota = None  # bytes that may come; None: any number
        self.lose_answer = False  # to a push that was done, once
        self.fail_after_packs = None  # accept so many packs, then answer 500
        self.changes, self.diff, self.compared = [], {}, []  # what a comparison says, and was asked for
        self.found, self.questions = [], []  # what a search finds, and was asked for
        self.linked = []  # what links were asked for
        self.send_at_once = False  # bytes instead of a link
        self.more = more_calls.State()
        self.lock = threading.Lock()

    def count(self, pattern):
        return sum(bool(re.fullmatch(pattern, request)) for request in self.requests)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Otherwise each answer waits 40 ms for the client's acknowledgement.

    @property
    def site(self):
        return self.server.site

    def log_message(self, *args):
        pass

    def do_GET(self):
        more_calls.break_once(self, self.route)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def route(self):
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.site.lock:
            self.site.requests.append(f"{self.command} {path}")
            if "Authorization" in self.headers:
                self.site.authorizations.append(self.headers["Authorization"])
            busy = self.site.busy.pop(0) if self.site.busy else None
        if busy:
            self.answer(busy, {"message": "busy"}, {"Retry-After": self.site.retry_after})
            return
        if (first := self.site.more.before.get(f"{self.command} {path}")) is not None:
            first()
        if (instead := self.site.more.answers.get(f"{self.command} {path}")) is not None:
            self.answer(*instead)
            return
        for method, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                if not path.startswith("/blob/") and not self.is_allowed():
                    self.answer(401, {"message": "Invalid authorization.", "code": "unauthenticated"})
                else:
                    handle(self, *match.groups(), body=body, query=query)
                return
        self.answer(404, {"message": "Resource does not exist.", "code": "not_found"})

    def is_allowed(self):
        scheme = "Bearer" if self.path.startswith("/api/") else "Token"
        return self.headers.get("Authorization") == f"{scheme} {self.site.key}"

    def answer(self, status, data, headers=()):
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def get_user(self, body, query):
        self.answer(200, {"status": "success", "response": {"id": 7, "username": "demo"}})

    def get_capabilities(self, body, query):
        if self.site.plain:
            self.answer(404, {"message": "no"})
        else:
            self.answer(200, {"protocol": 2, "features": self.site.features, "limits": LIMITS})

    def post_missing(self, body, query):
        found = json.loads(body)
        asked = found["objects"]
        assert len(asked) <= LIMITS["missing_objects"]
        new = {digest: size for digest, size in asked.items() if digest not in self.site.blobs}
        missing = {digest: f"/blob/{digest}?sig=1" for digest in new}
        if self.site.quota is None:
            self.answer(200, {"missing": missing})
        elif (added := self.count_added(found, new.values())) is not None:
            self.answer(200, {"missing": missing, "added_bytes": added})

    def count_added(self, more, sizes):
        """None if there is no room, which was answered."""
        assert "/" in more["package"]
        added = int(more.get("added_bytes", 0)) + sum(sizes)
        if added <= self.site.quota:
            return added
        self.answer(413, {"message": "There is no room.", "code": "over_quota"})
        return None

    def post_heads(self, body, query):
        heads = [body[start : start + HEADER_BYTES] for start in range(0, len(body), HEADER_BYTES)]
        assert len(heads) <= LIMITS["missing_objects"]
        missing = [head for head in heads if head[:32].hex() not in self.site.blobs]
        headers = {"Content-Type": "application/octet-stream"}
        more = dict(parse_qsl(query))
        assert ("package" in more) == ("quota" in self.site.features)
        if self.site.quota is not None:
            added = self.count_added(more, [int.from_bytes(head[32:], "big") for head in missing])
            if added is None:
                return
            headers["X-Added-Bytes"] = str(added)
        self.answer(200, b"".join(missing), headers)

    def post_pack(self, body, query):
        assert len(body) <= LIMITS["pack_bytes"]
        with self.site.lock:
            if self.site.fail_after_packs is not None:
                self.site.fail_after_packs -= 1
                if self.site.fail_after_packs < 0:
                    self.answer(500, {"message": "Something went wrong.", "code": "internal"})
                    return
        stream, stored = io.BytesIO(body), 0
        while header := stream.read(HEADER_BYTES):
            digest, size = header[:32].hex(), int.from_bytes(header[32:], "big")
            assert size <= LIMITS["pack_object_bytes"]
            data = stream.read(size)
            if hashlib.sha256(data).hexdigest() != digest:
                self.answer(400, {"message": f"Wrong bytes for {digest}", "code": "wrong_digest"})
                return
            self.site.blobs[digest] = data
            stored += 1
        self.answer(200, {"stored": stored})

    def post_fetch(self, body, query):
        digests = json.loads(body)["objects"]
        pack = b"".join(
            make_header(d, len(self.site.blobs[d])) + self.site.spoil.get(d, self.site.blobs[d])
            for d in digests
        )
        self.answer(200, pack, {"Content-Type": "application/octet-stream"})

    def put_blob(self, digest, body, query):
        assert "Authorization" not in self.headers
        assert "Content-Length" in self.headers
        if hashlib.sha256(body).hexdigest() != digest:
            self.answer(400, {"message": "Wrong bytes", "code": "wrong_digest"})
            return
        self.site.blobs[digest] = body
        self.answer(200, {})

    def head_blob(self, digest, body, query):
        self.answer(200 if digest in self.site.blobs else 404, b"")

    def get_blob(self, digest, body, query):
        assert "Authorization" not in self.headers
        data = self.site.spoil.get(digest, self.site.blobs[digest])
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if self.site.forget_range:
            self.answer(200, data)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        with self.site.lock:
            cut, self.site.cut_after = self.site.cut_after, None
        if cut is None:
            self.wfile.write(data[start:])
        else:
            self.wfile.write(data[start : start + cut])
            self.close_connection = True

    def put_package(self, package, digest, body, query):
        pushed = json.loads(body)
        root = parse(pushed["contents"])
        assert get_top_digest(root) == digest
        needed = list_blobs(root)
        if pushed["dry_run"]:
            urls = {d: {"head": f"/blob/{d}?sig=h", "put": f"/blob/{d}?sig=p"} for d in needed}
            self.answer(200, {"upload_urls": urls})
            return
        assert pushed["sizes"].keys() == needed
        if not needed <= self.site.blobs.keys():
            self.answer(400, {"message": "Objects are missing."})
            return
        if "tag" in pushed:
            assert "tag" in self.site.features
            if "expect" in pushed and self.find_tag(package, pushed["tag"]) != pushed["expect"]:
                self.answer(409, {"message": "It is not where you expect it.", "code": "conflict"})
                return
            self.move_tag(package, pushed["tag"], digest)
        self.site.trees[package, digest] = pushed["contents"]
        self.site.pushes.append({**pushed, "hash": digest, "package": package})
        self.site.access.setdefault(package, ["demo"])
        more_calls.finish(self, {"package_url": f"http://site/packages/{package}", "package_hash": digest})

    def get_package(self, package, digest, body, query):
        tree = self.site.trees.get((package, digest))
        if tree is None:
            self.answer(404, {"message": "Package hash does not exist", "code": "not_found"})
            return
        try:
            needed = list_blobs(parse(tree))
        except ManifestError:  # A test made the site hostile.
            needed = set()
        sizes = {d: self.site.sizes.get(d, len(self.site.blobs[d])) for d in needed}
        self.answer(200, {"contents": tree, "sizes": sizes, "urls": {d: f"/blob/{d}?sig=1" for d in needed}})

    def move_tag(self, package, tag, digest):
        if tag == "latest":
            self.site.latest[package] = digest
        else:
            self.site.tags[package, tag] = digest

    def find_tag(self, package, tag):
        return self.site.latest.get(package) if tag == "latest" else self.site.tags.get((package, tag))

    def put_tag(self, package, tag, body, query):
        self.move_tag(package, tag, json.loads(body)["hash"])
        self.answer(200, {})

    def get_tag(self, package, tag, body, query):
        if digest := self.find_tag(package, tag):
            self.answer(200, {"hash": digest})
        else:
            self.answer(404, {"message": f"Package {package} does not exist", "code": "not_found"})

    def get_log(self, package, body, query):
        logs = [
            {"hash": push["hash"], "created": 1.5 + n, "author": "demo", "tags": None, "versions": ["1.0"]}
            | {key: push[key] for key in ("message", "provenance") if key in push}
            for n, push in enumerate(self.site.pushes)
            if push["package"] == package
        ]
        self.answer(200, {"logs": logs})

    def get_diff(self, package, old, new, body, query):
        args = parse_qs(query)
        page, limit = int(args["page"][0]), int(args["limit"][0])
        self.site.compared.append((package, unquote(old), unquote(new)))
        changes = self.site.changes[(page - 1) * limit : page * limit]
        head = {"from": "0" * 64, "to": "1" * 64, "summary": {"added": 3, "moved": 0}, "bytes": {"new": 2048}}
        self.answer(200, head | {"changes": changes} | self.site.diff)

    def get_object(self, owner, name, revision, path, body, query):
        self.site.linked.append((owner, name, unquote(revision), unquote(path), query))
        tree = self.site.trees.get((f"{owner}/{name}", self.site.latest.get(f"{owner}/{name}")))
        if tree is None or (path := unquote(path)) not in tree["children"]:
            self.answer(404, {"message": "There is no such file", "code": "not_found"})
        elif self.site.send_at_once:
            self.answer(200, b"bytes")
        else:
            digest = tree["children"][path]["hashes"][0]
            self.answer(302, b"", {"Location": f"/blob/{digest}?sig=1"})

    def get_search(self, body, query):
        self.site.questions.append(parse_qs(query))
        self.answer(200, {"packages": self.site.found})

    def get_packages(self, owner, body, query):
        names = sorted(name.split("/")[1] for name in self.site.access if name.startswith(f"{owner}/"))
        self.answer(200, {"packages": [{"name": n, "is_public": True, "is_team": False} for n in names]})

    def get_access(self, package, body, query):
        self.answer(200, {"users": self.site.access[package]})

    def put_access(self, package, user, body, query):
        if user in self.site.access[package]:
            self.answer(409, {"message": "The user already has access", "code": "conflict"})
            return
        self.site.access[package].append(user)
        more_calls.finish(self)

    def delete_access(self, package, user, body, query):
        if user not in self.site.access[package]:
            self.answer(404, {"message": "The user has no access", "code": "not_found"})
            return
        self.site.access[package].remove(user)
        more_calls.finish(self)


P = r"(\w+/\w+)"
ROUTES = [
    ("GET", "/users/me", Handler.get_user),
    ("GET", "/api/capabilities", Handler.get_capabilities),
    ("POST", "/api/objects/missing", Handler.post_missing),
    ("POST", "/api/objects/heads", Handler.post_heads),
    ("POST", "/api/objects/pack", Handler.post_pack),
    ("POST", "/api/objects/fetch", Handler.post_fetch),
    ("PUT", "/blob/([0-9a-f]+)", Handler.put_blob),
    ("HEAD", "/blob/([0-9a-f]+)", Handler.head_blob),
    ("GET", "/blob/([0-9a-f]+)", Handler.get_blob),
    ("PUT", f"/api/package/{P}/([0-9a-f]+)", Handler.put_package),
    ("GET", f"/api/package/{P}/([0-9a-f]+)", Handler.get_package),
    ("GET", f"/api/diff/{P}/([^/]+)/([^/]+)", Handler.get_diff),
    ("GET", r"/api/object/(\w+)/(\w+)@([^/]+)/(.+)", Handler.get_object),
    ("GET", "/api/search/", Handler.get_search),
    ("GET", r"/api/package/(\w+)/", Handler.get_packages),
    ("PUT", f"/api/tag/{P}/(.+)", Handler.put_tag),
    ("GET", f"/api/tag/{P}/(.+)", Handler.get_tag),
    ("GET", f"/api/log/{P}/", Handler.get_log),
    ("GET", f"/api/access/{P}/", Handler.get_access),
    ("PUT", f"/api/access/{P}/(.+)", Handler.put_access),
    ("DELETE", f"/api/access/{P}/(.+)", Handler.delete_access),
    *more_calls.ROUTES,
]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # A client opens many connections at once.
    site: Site

    def handle_error(self, request, client_address):
        """A client that was killed, or stopped reading, is no matter for the log."""


@pytest.fixture
def site():
    """A running site; ``site.url`` is its address."""
    server = Server(("127.0.0.1", 0), Handler)
    server.site = site = Site()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_client(site, tmp_path):
    """A client of the site with a home folder of its own per name."""
    clients = []

    def make(name="home", key="secret-key"):
        client = Client(site.url, key, tmp_path / name, backoff=0.0)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client):
    return make_client()


class Runner:
    """Runs `pulsar` in this process as a home of its own would."""

    def __init__(self, site, home):
        self.env = {
            "PULSAR_CLIENT_HOME": str(home),
            "PULSAR_CLIENT_URL": site.url,
            "PULSAR_CLIENT_KEY": site.key,
        }

    def __call__(self, *arguments, stdin="", **env):
        # `cli.run` turns errors into an exit status; the runner lends it the streams.
        runner = CliRunner(env=self.env | env)
        with runner.isolation(input=stdin) as (out, err, _):
            status = cli.run(list(arguments))
            return status, out.getvalue().decode(), err.getvalue().decode()


@pytest.fixture
def pulsar(site, tmp_path):
    """``pulsar("ls", "--json")``: status, output, errors; at home where ``client`` is."""
    return Runner(site, tmp_path / "home")


@pytest.fixture
def make_tree(tmp_path):
    """Write files given as {path: bytes} into a new folder and return it."""

    def make(files, name="data"):
        for path, data in files.items():
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return tmp_path / name

    return make
