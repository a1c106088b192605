"""Whatever a site answers, a command ends with a result or one line, and never steers the terminal."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
import requests
from click.testing import CliRunner
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from pulsar_client import cli, errors, http
from pulsar_client.console import format_table, make_one_line
from pulsar_client.manifest import get_top_digest, parse

DIGEST = "ab" * 32
TREE = {"type": "ROOT", "children": {"a": {"type": "FILE", "hashes": [DIGEST], "metadata": {"q_path": "a"}}}}
TOP = get_top_digest(parse(TREE))
# What is built from a file `a` with the content `1`.
LEAF = {"type": "FILE", "hashes": [hashlib.sha256(b"1").hexdigest()]}
BUILT = get_top_digest(parse({"type": "ROOT", "children": {"a": LEAF}}))
PUSH = ("push", "demo/x", "--description", "pushed again, too")
JOB = {
    "id": 7, "kind": "k", "state": "done", "progress": {"done": 1, "total": 2, "unit": "u"}, "attempts": 1,
    "created": 1, "started": 2, "finished": 3, "error": "e", "result": [1], "owner": "demo",
}  # fmt: skip
TABLE = {
    "rows": [1, 2],
    "added": [{"name": "b", "type": "int64"}],
    "changed": [{"name": "c", "type": ["x", "y"]}],
}
CHANGE = {"path": "t", "change": "changed", "fields": ["hashes"], "old": {"size": 1}, "new": {"size": 2}}
SUMMARY = {"summary": {"changed": 1}, "bytes": {"new": 5}}
LOG = {"hash": TOP, "created": 1.5, "author": "demo", "tags": ["t"], "versions": None, "message": "m"}
FEATURES = ["missing", "heads", "pack", "fetch", "tag", "provenance", "quota", "statistics"]
LIMITS = {"missing_objects": 40, "pack_bytes": 20_000, "pack_object_bytes": 2_000}
# What a well-behaved site answers.
ANSWERS = {
    "GET /users/me": {"response": {"id": 7, "username": "demo"}},
    "GET /api/capabilities": {"protocol": 2, "features": FEATURES, "limits": LIMITS},
    "GET /api/package/demo/": {"packages": [{"name": "x", "is_public": True, "is_team": False}]},
    "GET /api/search/": {"packages": [{"owner": "demo", "name": "x", "readme_preview": "text"}]},
    "GET /api/log/demo/x/": {"logs": [LOG]},
    "GET /api/access/demo/x/": {"users": ["demo"]},
    "GET /api/tag/demo/x/": {"tags": [{"tag": "latest", "hash": TOP}]},
    "GET /api/tag/demo/x/latest": {"hash": TOP},
    "GET /api/version/demo/x/": {"versions": [{"version": "1.0", "hash": TOP}]},
    "GET /api/version/demo/x/1.0": {"hash": TOP},
    "GET /jobs": {"response": [JOB]},
    "GET /jobs/7": {"response": JOB},
    "GET /api/diff/demo/x/1.0/latest": {
        "from": TOP,
        "to": TOP,
        **SUMMARY,
        "changes": [CHANGE | {"table": TABLE}],
    },
    f"GET /api/package/demo/x/{TOP}": {"contents": TREE, "sizes": {DIGEST: 1}, "urls": {DIGEST: "/b"}},
    "POST /api/objects/heads": b"",  # Nothing is missing.
    f"PUT /api/package/demo/x/{BUILT}": {"package_url": "http://site/packages/demo/x", "package_hash": BUILT},
    "PUT /api/tag/demo/x/new": {},
}
# Each of these answers is twisted once, and with it this command run.
COMMANDS = {
    "GET /users/me": ("whoami",),
    "GET /api/capabilities": PUSH,
    "POST /api/objects/heads": PUSH,
    f"PUT /api/package/demo/x/{BUILT}": PUSH,
    "GET /api/package/demo/": ("ls", "demo"),
    "GET /api/search/": ("search", "x"),
    "GET /api/log/demo/x/": ("log", "demo/x"),
    "GET /api/access/demo/x/": ("access", "list", "demo/x"),
    "GET /api/tag/demo/x/": ("tag", "list", "demo/x"),
    "GET /api/tag/demo/x/latest": ("tag", "add", "demo/x", "new"),
    "GET /api/version/demo/x/": ("version", "list", "demo/x"),
    "GET /api/version/demo/x/1.0": ("tag", "add", "demo/x", "new", "1.0"),
    "GET /jobs": ("job", "list"),
    "GET /jobs/7": ("job", "show", "7"),
    "GET /api/diff/demo/x/1.0/latest": ("diff", "demo/x", "1.0"),
    f"GET /api/package/demo/x/{TOP}": ("install", "demo/x", "-x", TOP),
}
STRANGE = "\ud800\x1b[2J\x9b2J\u202e\r\n" + "x" * 3000
WRONG = (None, 1e999, STRANGE, [STRANGE], {STRANGE: -1})


class Hostile(BaseAdapter):
    """Answers as above, but for one place in one answer."""

    def __init__(self):
        super().__init__()
        self.answers = dict(ANSWERS)
        self.asked = []

    def send(self, request, **_):
        call = f"{request.method} {request.path_url.partition('?')[0]}"
        self.asked.append(call)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url
        if call not in self.answers:
            answer.status_code = 404
        found = self.answers.get(call, {"message": STRANGE})
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        answer.raw = HTTPResponse(BytesIO(body), preload_content=False)
        return answer

    def close(self):
        pass


def twist(answer):
    """The answer with each of its parts replaced by each wrong value."""
    yield from WRONG
    parts = (
        answer.items() if isinstance(answer, dict) else enumerate(answer) if isinstance(answer, list) else ()
    )
    for key, part in parts:
        for twisted in twist(part):
            whole = answer.copy()
            whole[key] = twisted
            yield whole


@pytest.fixture
def hostile(monkeypatch):
    adapter = Hostile()
    monkeypatch.setattr(http, "HTTPAdapter", lambda **_: adapter)
    monkeypatch.setattr(http, "BACKOFF", 0.0)
    return adapter


@pytest.fixture
def run(tmp_path):
    env = {
        "PULSAR_CLIENT_HOME": str(tmp_path),
        "PULSAR_CLIENT_URL": "http://site",
        "PULSAR_CLIENT_KEY": "key",
    }

    def call(*arguments):
        with CliRunner(env=env).isolation() as (out, err, _):
            status = cli.run(list(arguments))
            return status, out.getvalue().decode(), err.getvalue().decode()

    return call


@pytest.mark.parametrize("call", COMMANDS)
def test_a_wrong_value_anywhere_in_an_answer_is_an_error_of_one_line(hostile, run, call, make_tree):
    command = COMMANDS[call]
    if command[0] == "push":
        run("build", "demo/x", "--raw", str(make_tree({"a": b"1"})))
    for twisted in twist(ANSWERS[call]):
        hostile.answers[call] = twisted
        status, out, err = run(*command)
        assert status in (0, 1, 2), twisted
        assert "unexpected" not in err, (twisted, err)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err), twisted
        assert len(err.splitlines()) <= 2, err
        assert len(err) < 5000
    assert call in hostile.asked


@pytest.mark.parametrize("command", [("search", "x"), ("log", "demo/x"), ("whoami",)], ids=" ".join)
def test_json_of_a_hostile_site_is_json_and_does_not_steer_either(hostile, run, command):
    strange = STRANGE[:-3000]
    hostile.answers["GET /api/search/"] = {"packages": [{"owner": strange, "name": strange}]}
    hostile.answers["GET /api/log/demo/x/"] = {"logs": [{**LOG, "message": strange}]}
    hostile.answers["GET /users/me"] = {"response": {"username": strange}}
    status, out, err = run(*command, "--json")
    assert (status, err) == (0, "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    found = json.loads(out)
    assert strange in (found[0] if isinstance(found, list) else found).values()


def test_one_long_value_does_not_make_every_line_long():
    rows = [{"a": "x" * 1_000_000, "b": "y"}, *({"a": "x", "b": "y"} for _ in range(1000))]
    assert sum(map(len, format_table(rows))) < 500_000
    assert make_one_line("a\u2028b\ud800c") == "a b c"


class Endless(BaseHTTPRequestHandler):
    """Leads on and on, or sends bodies without end."""

    def do_GET(self):
        self.send_response(int(self.path[1:4]))
        self.send_header("Location", self.path[4:] or self.path)
        self.end_headers()
        try:
            while self.path.startswith("/2") or self.server.endless:
                self.wfile.write(b" " * 65536)
        except OSError:
            pass  # Nobody reads on.

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def endless():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads, server.endless = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/302", "without end"),
        ("GET", "/307http://other.example/x", "leads to http://other.example: use that address"),
        ("GET", "/301//other.example/x", "leads to http://other.example: use that address"),
        ("POST", "/302/200", "leads a POST elsewhere"),
        ("GET", "/200", "larger than 1 MiB"),
    ],
)
def test_an_answer_without_end_ends(endless, monkeypatch, method, path, words):
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1 << 20)
    endless.endless = True
    site = http.Http(f"http://127.0.0.1:{endless.server_address[1]}", "key", backoff=0.0)
    with pytest.raises(errors.ProtocolError, match=words):
        site.get_json(method, path)
    site.close()


def test_a_link_is_followed_where_it_leads(endless):
    site = http.Http(f"http://127.0.0.1:{endless.server_address[1]}", "key", backoff=0.0)
    with pytest.raises(errors.NotFound):
        site.open("GET", "/302/404", signed=True)
    with pytest.raises(errors.NotFound):
        site.open("POST", "/307/404", signed=True, body=b"x")
    site.close()


def test_a_failure_of_the_site_says_how_its_operator_finds_it(site, pulsar):
    said = {"message": "Something went wrong.", "code": "internal", "request_id": "e3d3" + "x" * 100}
    site.more.answers["GET /users/me"] = (500, said)
    status, _, err = pulsar("whoami")
    assert (status, err) == (1, f"pulsar: Something went wrong. (request e3d3{'x' * 60})\n")


def test_what_opens_a_link_is_not_shown(site, client, pulsar, make_tree, make_client):
    client.build("demo/x", make_tree({"a": b"1" * 5000}), raw=True)
    client.push("demo/x")
    site.trees["demo/x", "x"] = None
    (digest,) = site.blobs
    site.more.answers[f"GET /blob/{digest}"] = (403, {"message": "No."})
    status, out, err = pulsar(
        "install", "demo/x", "--debug", PULSAR_CLIENT_HOME=str(client.settings.home) + "2"
    )
    assert (status, out) == (1, "")
    assert "Traceback" in err
    assert "sig=" not in err
    assert site.key not in err
    secret = "http://127.0.0.1:9/blob/x?sig=hush&expires=9"
    assert "hush" not in cli._LINK_SECRETS.sub("?...", f"Max retries exceeded with url: {secret} (Caused")


def test_ctrl_c_ends_a_command_that_waits_with_status_1(site, client, make_tree, tmp_path):
    client.build("demo/x", make_tree({"a": b"1" * 5000}), raw=True)
    client.push("demo/x")
    (digest,) = site.blobs
    reached, go_on = threading.Event(), threading.Event()

    def wait():
        reached.set()
        go_on.wait(60)

    site.more.before[f"GET /blob/{digest}"] = wait
    env = {**os.environ, "PULSAR_CLIENT_HOME": str(tmp_path / "other"), "PULSAR_CLIENT_URL": site.url}
    env |= {"PULSAR_CLIENT_KEY": site.key, "TERM": "xterm"}
    command = [sys.executable, "-c", "from pulsar_client.cli import main; main()", "install", "demo/x"]
    screen, keyboard = os.openpty()
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=keyboard, text=True)
    os.close(keyboard)
    assert reached.wait(60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    go_on.set()
    shown = os.read(screen, 1 << 16).decode()
    os.close(screen)

    assert (process.returncode, out) == (1, "")
    assert shown.endswith("pulsar: interrupted\r\n")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is still hidden"
    assert not list((tmp_path / "other/quilt_packages/pkgs").rglob("latest"))
