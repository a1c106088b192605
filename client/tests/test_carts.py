"""pulsar cart: a small site that has carts, over real connections that break."""

import hashlib
import io
import json
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from pulsar_client import carts, cli
from pulsar_client.client import Client
from pulsar_client.errors import Conflict, ConnectionFailed, DigestMismatch, NotFound, ProtocolError

FILES = {"a/b.txt": b"one", "a/c": b"", "large": bytes(range(256)) * 100, "z\u00e9": b"two"}


class CartSite:
    """Carts, and what shall go wrong with them."""

    def __init__(self):
        self.carts, self.states = {}, {}
        self.etag = '"1"'
        self.cut = 0  # answers that end in the middle
        self.lose = set()  # starts of ranges whose answers always end in the middle
        self.spoil = False
        self.digests = True
        self.requests = []
        self.lock = threading.Lock()

    def tar(self, uid):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path, data in self.carts[uid].items():
                one = tarfile.TarInfo(f"x/{path}")
                one.size = len(data)
                tar.addfile(one, io.BytesIO(data[:-1] + b"!" if self.spoil and data else data))
        return out.getvalue()

    def manifest(self, uid):
        for path, data in self.carts[uid].items():
            line = {"path": path, "size": len(data), "hashtype": "md5", "hashsum": None, "sha256": None}
            if self.digests:
                # Some sources know another digest only.
                line |= (
                    {"hashsum": hashlib.md5(data).hexdigest()}
                    if path == "large"
                    else {"sha256": hashlib.sha256(data).hexdigest()}
                )
            yield json.dumps(line).encode() + b"\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def handle_call(self):
        site = self.server.site
        path, _, _ = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with site.lock:
            site.requests.append((self.command, path, self.headers.get("Range")))
        uid, _, what = path.removeprefix("/cart/").partition("/")
        if not uid:
            mine = [{"uid": one, "state": site.states[one], "label": ""} for one in site.carts]
            return self.answer(200, json.dumps({"message": "up", "carts": mine}).encode())
        if self.command == "POST":
            listed = json.loads(body)["fileids"]
            site.carts[uid] = {one["path"]: FILES[one["path"]] for one in listed}
            site.states[uid] = "ready"
            return self.answer(201, b'{"message": "Cart Processing has begun"}')
        if uid not in site.carts:
            return self.answer(404, b'{"message": "No such cart", "code": "not_found"}')
        if self.command == "DELETE":
            del site.carts[uid]
            return self.answer(200, b"{}")
        if what == "status":
            return self.answer(
                200, json.dumps({"uid": uid, "state": site.states[uid], "message": "m"}).encode()
            )
        if what == "manifest":
            return self.answer(200, b"".join(site.manifest(uid)))
        if site.states[uid] != "ready":
            return self.answer(202, b"The cart is not ready for download.")
        return self.send_part(site.tar(uid))

    do_GET = do_POST = do_DELETE = handle_call

    def send_part(self, data):
        site = self.server.site
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        if self.headers.get("If-Range", site.etag) != site.etag:
            return self.answer(200, data)
        part = data[first : last + 1]
        headers = {"ETag": site.etag, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
        with site.lock:
            is_cut = "If-Range" in self.headers and (site.cut > 0 or first in site.lose)
            site.cut -= is_cut
        return self.answer(206, part, headers, cut=is_cut)

    def answer(self, status, body, headers=(), cut=False):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True


@pytest.fixture(scope="module")
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def site(server, monkeypatch):
    monkeypatch.setattr(carts, "PART_BYTES", 4096)
    server.site = CartSite()
    server.site.carts["u"], server.site.states["u"] = dict(FILES), "ready"
    server.site.url = f"http://127.0.0.1:{server.server_port}"
    return server.site


@pytest.fixture
def client(site, tmp_path):
    with Client(site.url, "secret-key", tmp_path / "home", backoff=0) as made:
        yield made


def parts(site):
    return [asked for _, path, asked in site.requests if path == "/cart/u" and asked != "bytes=0-0"]


def test_a_cart_is_fetched_in_parts_and_verified(site, client, tmp_path):
    result = client.carts.fetch("u", tmp_path / "u.tar")
    data = site.tar("u")
    assert (tmp_path / "u.tar").read_bytes() == data
    assert (result.size, result.fetched_bytes, result.files) == (len(data), len(data), len(FILES))
    assert result.unverified == []
    assert len(parts(site)) == -(-len(data) // 4096)
    assert [path.name for path in tmp_path.glob("u.tar*")] == ["u.tar"]


def test_a_connection_that_breaks_costs_only_what_was_not_here(site, client, tmp_path, monkeypatch):
    monkeypatch.setattr(carts, "PIECE_BYTES", 1000)
    site.cut = 3
    client.carts.fetch("u", tmp_path / "u.tar")
    assert (tmp_path / "u.tar").read_bytes() == site.tar("u")
    again = [asked for asked in parts(site) if int(asked[6:].split("-")[0]) % 4096]
    assert len(again) == 3, "they went on in the middle of a part"


def test_a_download_that_was_given_up_goes_on(site, client, tmp_path):
    site.lose = {8192}
    with pytest.raises(ConnectionFailed):
        client.carts.fetch("u", tmp_path / "u.tar")
    assert not (tmp_path / "u.tar").exists()
    notes = json.loads((tmp_path / "u.tar.part.json").read_text())
    assert 8192 not in notes["done"]
    site.lose, site.requests = set(), []
    result = client.carts.fetch("u", tmp_path / "u.tar")
    assert (tmp_path / "u.tar").read_bytes() == site.tar("u")
    assert {int(asked[6:].split("-")[0]) for asked in parts(site)}.isdisjoint(notes["done"])
    assert result.fetched_bytes == result.size - sum(min(4096, result.size - at) for at in notes["done"])


def test_a_cart_that_is_another_one_by_now_is_fetched_anew(site, client, tmp_path):
    site.lose = {8192}
    with pytest.raises(ConnectionFailed):
        client.carts.fetch("u", tmp_path / "u.tar")
    site.lose, site.etag, site.carts["u"] = set(), '"2"', {"a": b"other"}
    client.carts.fetch("u", tmp_path / "u.tar")
    assert (tmp_path / "u.tar").read_bytes() == site.tar("u")


def test_what_was_fetched_but_not_verified_yet_is_not_fetched_again(site, client, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(carts.Carts, "_check_tar", lambda *_: 1 / 0)  # it dies there
        with pytest.raises(ZeroDivisionError):
            client.carts.fetch("u", tmp_path / "u.tar")
    site.requests = []
    assert client.carts.fetch("u", tmp_path / "u.tar").fetched_bytes == 0
    assert parts(site) == []
    assert [path.name for path in tmp_path.glob("u.tar*")] == ["u.tar"]


def test_notes_without_what_they_speak_of_are_not_believed(site, client, tmp_path):
    site.lose, site.digests = {8192}, False
    with pytest.raises(ConnectionFailed):
        client.carts.fetch("u", tmp_path / "u.tar")
    (tmp_path / "u.tar.part").unlink()
    site.lose = set()
    client.carts.fetch("u", tmp_path / "u.tar")
    assert (tmp_path / "u.tar").read_bytes() == site.tar("u")


@pytest.mark.parametrize("is_known", [True, False])
def test_a_tar_that_is_here_is_fetched_again_only_if_it_is_in_doubt(site, client, tmp_path, is_known):
    site.digests = is_known
    client.carts.fetch("u", tmp_path / "u.tar")
    again = client.carts.fetch("u", tmp_path / "u.tar")
    assert (again.fetched_bytes, again.files) == (0 if is_known else again.size, len(FILES))
    damaged = bytearray((tmp_path / "u.tar").read_bytes())
    damaged[513] ^= 1
    (tmp_path / "u.tar").write_bytes(damaged)
    assert client.carts.fetch("u", tmp_path / "u.tar").fetched_bytes == again.size
    (tmp_path / "u.tar").write_bytes(bytes(again.size))
    client.carts.fetch("u", tmp_path / "u.tar")
    assert (tmp_path / "u.tar").read_bytes() == site.tar("u")
    assert [path.name for path in tmp_path.glob("u.tar*")] == ["u.tar"]


def test_wrong_bytes_are_thrown_away(site, client, tmp_path):
    site.spoil = True
    with pytest.raises(DigestMismatch, match=r"a/b\.txt"):
        client.carts.fetch("u", tmp_path / "u.tar")
    assert list(tmp_path.glob("u.tar*")) == []


def test_a_list_that_has_more_or_less_than_the_tar_is_noticed(site, client, tmp_path, monkeypatch):
    full = list(site.manifest("u"))
    for lines in (full[:-1], [*full, b'{"path": "more", "size": 0}\n'], full[::-1]):
        monkeypatch.setattr(site, "manifest", lambda uid, lines=lines: lines)
        with pytest.raises(DigestMismatch):
            client.carts.fetch("u", tmp_path / "u.tar")


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"path": "../x", "size": 1}', b'{"path": "/x", "size": 1}'])
def test_a_list_that_cannot_be_is_refused(site, client, tmp_path, monkeypatch, line):
    monkeypatch.setattr(site, "manifest", lambda uid: [line + b"\n"])
    with pytest.raises(ProtocolError):
        client.carts.verify("u", tmp_path)


def test_files_without_a_digest_are_named(site, client, tmp_path):
    site.digests = False
    assert client.carts.fetch("u", tmp_path / "u.tar").unverified == list(FILES)


def test_a_cart_that_is_not_ready_or_not_there_is_not_fetched(site, client, tmp_path):
    site.states["u"] = "staging"
    with pytest.raises(Conflict, match="not ready"):
        client.carts.fetch("u", tmp_path / "u.tar")
    with pytest.raises(NotFound):
        client.carts.fetch("none", tmp_path / "none.tar")


def test_unpacked_files_are_verified(site, client, tmp_path):
    for path, data in FILES.items():
        (tmp_path / "x" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / path).write_bytes(data)
    assert client.carts.verify("u", tmp_path / "x").ok
    (tmp_path / "x" / "large").write_bytes(FILES["large"][:-1] + b"!")
    (tmp_path / "x" / "a" / "c").unlink()
    result = client.carts.verify("u", tmp_path / "x")
    assert (result.damaged, result.missing, result.files) == (["large"], ["a/c"], 4)


@pytest.fixture
def pulsar(site, tmp_path, monkeypatch):
    """``pulsar("ls")``: exit status, what it printed, and what it said."""
    env = {
        "PULSAR_CLIENT_HOME": str(tmp_path / "home"),
        "PULSAR_CLIENT_URL": site.url,
        "PULSAR_CLIENT_KEY": "k",
    }
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with CliRunner(env=env).isolation() as (out, err, _):
            status = cli.run(["cart", *arguments])
            return status, out.getvalue().decode(), err.getvalue().decode()

    return run


def test_the_command_makes_fetches_unpacks_lists_and_removes(site, pulsar, tmp_path):
    (tmp_path / "files.json").write_text(json.dumps([{"id": "1", "path": path} for path in FILES]))
    assert pulsar("create", "files.json", "--uid", "mine", "--wait")[:2] == (0, "mine\n")
    assert json.loads(pulsar("status", "mine", "--json")[1])["state"] == "ready"
    assert pulsar("get", "mine", "-o", "m.tar")[:2] == (0, "m.tar\n")
    assert pulsar("get", "mine", "--unpack", "here")[:2] == (0, "here/x\n")
    assert not (tmp_path / "mine.tar").exists()
    assert (tmp_path / "here" / "x" / "large").read_bytes() == FILES["large"]
    assert pulsar("verify", "mine", "here/x")[0] == 0
    (tmp_path / "here" / "x" / "large").unlink()
    assert pulsar("verify", "mine", "here/x")[:2] == (1, "missing large\n")
    status, _, said = pulsar("verify", "mine", "here")
    assert status == 1
    assert said == "pulsar: No file of the cart is in here: is that the folder that holds them?\n"
    assert pulsar("ls")[1].split() == ["u", "ready", "mine", "ready"]
    assert pulsar("rm", "mine")[0] == 0
    assert pulsar("status", "mine")[0] == 1
    assert pulsar("rm", "mine") == (1, "", "pulsar: There is no cart mine.\n")


def test_a_cart_that_failed_is_an_error(site, pulsar):
    site.states["u"] = "error"
    for call in (("status", "u"), ("get", "u", "--wait")):
        status, _, said = pulsar(*call)
        assert status == 1
        assert said == "pulsar: The cart failed: m\n"


def test_what_cannot_be_fetched_leaves_nothing_behind(site, pulsar, tmp_path):
    site.states["u"] = "staging"
    said = "pulsar: The cart u is not ready. Wait for it with --wait.\n"
    assert pulsar("get", "u") == (1, "", said)
    assert pulsar("get", "none")[0] == 1
    assert pulsar("get", "u", "-o", "none/u.tar")[0] == 1
    assert [path.name for path in tmp_path.iterdir()] in ([], ["home"])


def test_a_tar_can_be_fetched_into_a_folder(pulsar, tmp_path):
    (tmp_path / "down").mkdir()
    assert pulsar("get", "u", "-o", "down")[:2] == (0, "down/u.tar\n")
    assert (tmp_path / "down" / "u.tar").is_file()


def test_packages_are_named_as_they_are_elsewhere(site, pulsar, monkeypatch):
    posted = []
    monkeypatch.setattr(carts.Carts, "create", lambda _, files, uid: posted.append(files) or "u")
    assert pulsar("create", "-p", "ann/one")[:2] == (0, "u\n")
    assert pulsar("create", "-p", "ann/one@1.0/raw/deep/", "--package", "bob/two@2a0c44")[0] == 0
    one = {"source": "registry", "package": "ann/one", "prefix": "raw/deep", "hash": "1.0"}
    two = {"source": "registry", "package": "bob/two", "hash": "2a0c44"}
    assert posted == [
        [{"source": "registry", "package": "ann/one"}],
        [one | {"path": "ann/one/raw/deep"}, two | {"path": "bob/two"}],
    ]
    for wrong in (["-p", "one"], ["-p", "ann/one@"], [], ["files.json", "-p", "ann/one"]):
        assert pulsar("create", *wrong)[0] == 2


def test_what_is_no_json_is_no_document(pulsar, tmp_path):
    (tmp_path / "files.json").write_text("{")
    assert pulsar("create", "files.json") == (2, "", "pulsar: files.json is not JSON.\n")
