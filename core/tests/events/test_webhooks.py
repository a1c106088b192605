"""Webhooks: a real receiver, real jobs, and addresses that nobody may reach."""

import hashlib
import hmac
import json
import re
import socket
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from core import outgoing, webhooks
from core.config import ConfigError
from core.db import db, now
from core.errors import Unavailable
from core.events import CoreEvents, emit
from core.jobs import Job, JobState
from core.models import Event

pytestmark = pytest.mark.any_database

SECRET = "the secret of the receiver"
URL = "https://hooks.example.org/a"


class Receiver:
    """A web server in a thread that keeps what it got, and answers with the next of ``answers``."""

    def __init__(self, context=None):
        self.requests, self.answers, receiver = [], [], self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got = SimpleNamespace(path=self.path, headers=self.headers, body=body)
                receiver.requests.append(got)
                answer = receiver.answers.pop(0) if receiver.answers else 204
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.block_on_close = False
        self.port = self.server.server_port
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def configure(app, monkeypatch):
    """``configure(*entries, private=True)``: the webhooks of the site, for the length of the test."""

    def set_(*entries, private=True):
        monkeypatch.setitem(app.config, "WEBHOOKS", list(entries))
        monkeypatch.setitem(app.config, "WEBHOOK_ALLOW_PRIVATE", private)

    return set_


@pytest.fixture
def hooked(receiver, configure, clean_database):
    """A receiver that is told of what happens to users."""
    entry = {
        "url": f"http://127.0.0.1:{receiver.port}/in?box=1",
        "events": ["core.user.*"],
        "secret": SECRET,
    }
    configure(entry)
    return receiver


def happen(name=CoreEvents.USER_CHANGED, **payload):
    """Let something happen, and commit; the id of the event."""
    event = emit(name, target="user:7", **payload)
    db.session.commit()
    return event.id


def deliveries():
    db.session.rollback()
    return db.session.query(Job).filter_by(kind="core.deliver_webhook").order_by(Job.id).all()


def test_a_receiver_is_told_once_and_can_tell_by_whom(app, hooked, work):
    event_id = happen(fields=["email"], note="ä")
    assert hooked.requests == []
    assert work(app) == 1

    (got,) = hooked.requests
    assert got.path == "/in?box=1"
    assert json.loads(got.body) == {
        "id": event_id,
        "name": "core.user.changed",
        "happened_at": int(db.session.get(Event, event_id).happened_at.timestamp()),
        "actor": None,
        "target": "user:7",
        "payload": {"fields": ["email"], "note": "ä"},
    }
    assert got.headers["Host"] == f"127.0.0.1:{hooked.port}"
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["X-Pulsar-Event"] == "core.user.changed"
    assert got.headers["X-Pulsar-Delivery"] == str(event_id)
    moment, signature = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", got.headers["X-Pulsar-Signature"]).groups()
    signed = f"{moment}.".encode() + got.body
    assert signature == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert abs(int(moment) - now().timestamp()) < 600
    (job,) = deliveries()
    assert (job.state, job.result) == (JobState.DONE, {"host": "127.0.0.1", "status": 204})


def test_only_what_was_asked_for_is_sent(app, hooked, work):
    happen(CoreEvents.CLASS_CREATED)
    happen(CoreEvents.USER_LOCKED)
    work(app)
    assert [got.headers["X-Pulsar-Event"] for got in hooked.requests] == ["core.user.locked"]


def test_what_is_rolled_back_is_not_sent(app, hooked, work):
    emit(CoreEvents.USER_CHANGED, target="user:7")
    db.session.rollback()
    assert work(app) == 0


def test_each_receiver_has_a_job_of_its_own(app, receiver, configure, clean_database, work):
    base = f"http://127.0.0.1:{receiver.port}"
    configure(*({"url": f"{base}/{n}", "events": ["core.user.changed", "*"], "secret": SECRET} for n in "ab"))
    receiver.answers = [500]
    happen()
    work(app)
    assert sorted(got.path for got in receiver.requests) == ["/a", "/b"]
    assert sorted(job.state for job in deliveries()) == [JobState.DONE, JobState.RUNNING]


@pytest.mark.parametrize("status", [301, 302, 307, 400, 410, 500])
def test_what_is_not_accepted_is_sent_again_and_redirects_are_not_followed(app, hooked, work, status):
    hooked.answers = [status]
    happen()
    assert work(app) == 1
    (job,) = deliveries()
    assert (job.state, job.error) == (JobState.RUNNING, f"127.0.0.1 answered {status}.")
    assert len(hooked.requests) == 1

    assert work(app, lambda: now() + timedelta(minutes=1)) == 1
    first, second = hooked.requests
    assert (first.path, first.body) == (second.path, second.body)
    assert first.headers["X-Pulsar-Delivery"] == second.headers["X-Pulsar-Delivery"]
    assert deliveries()[0].state == JobState.DONE


def test_a_receiver_may_be_away_for_about_a_day(app, hooked, work):
    hooked.stop()
    hooked.stop = lambda: None
    happen()
    clock = SimpleNamespace(time=now())
    start = clock.time
    while deliveries()[0].state in (JobState.QUEUED, JobState.RUNNING):
        clock.time = max(clock.time, deliveries()[0].due_at)
        assert work(app, lambda: clock.time) == 1
    assert timedelta(hours=16) < clock.time - start < timedelta(hours=30)
    assert deliveries()[0].error == "127.0.0.1 could not be reached: Connection refused."


def test_neither_the_job_nor_the_log_knows_secrets(app, receiver, configure, clean_database, work, caplog):
    caplog.set_level("DEBUG")
    configure(
        {
            "url": f"http://127.0.0.1:{receiver.port}/private-path",
            "events": ["*"],
            "secret": SECRET,
        }
    )
    receiver.answers = [500]
    happen()
    work(app)
    work(app, lambda: now() + timedelta(minutes=1))
    (job,) = deliveries()
    written = caplog.text + repr([job.arguments, job.result, job.error, job.unique_key])
    assert len(receiver.requests) == 2
    assert SECRET not in written
    assert "private-path" not in written


def test_a_webhook_that_is_gone_gets_nothing(app, hooked, configure, work):
    happen()
    configure()
    work(app)
    (job,) = deliveries()
    assert (job.state, job.error) == (JobState.FAILED, "This webhook is not configured any more.")
    assert hooked.requests == []


def test_an_event_that_is_gone_is_not_sent(app, hooked, work):
    happen()
    db.session.query(Event).delete()
    db.session.commit()
    work(app)
    assert deliveries()[0].error == "The event is not kept any more."


def say_for_ever(handler):
    """Answer well, and go on for as long as anybody listens."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65_536)
    except OSError:
        handler.server.hung_up.set()


def test_a_long_answer_is_not_read_to_its_end(app, hooked, work):
    hooked.server.hung_up = threading.Event()
    hooked.answers = [say_for_ever]
    happen()
    work(app)
    assert deliveries()[0].state == JobState.DONE
    assert hooked.server.hung_up.wait(30)


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(receiver):
    hung_up = threading.Event()

    def trickle(handler):
        try:
            for letter in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000:
                handler.wfile.write(bytes([letter]))
                if hung_up.wait(0.02):
                    return
        except OSError:
            hung_up.set()

    receiver.answers = [trickle]
    with pytest.raises(Unavailable, match=r"^127\.0\.0\.1 could not be reached: no answer in time\."):
        outgoing.post(f"http://127.0.0.1:{receiver.port}/", b"{}", {}, timeout=0.3, allow_private=True)
    assert hung_up.wait(30)


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500])
def test_what_is_no_answer_is_an_error_and_no_crash(receiver, answer):
    receiver.answers = [lambda handler: handler.wfile.write(answer)]
    with pytest.raises(Unavailable, match="could not be reached"):
        outgoing.post(f"http://127.0.0.1:{receiver.port}", b"{}", {}, timeout=10, allow_private=True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1",
        "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:0:0:0:0:0:1", "64:ff9b:1::1",
    ],
)  # fmt: skip
def test_addresses_that_only_the_site_can_reach(address):
    assert not outgoing.is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_open_internet(address):
    assert outgoing.is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_the_same_in_every_dress(address):
    plain = outgoing.is_public(str(address))
    assert outgoing.is_public(f"::ffff:{address}") == plain
    assert outgoing.is_public(f"64:ff9b::{address}") == plain
    assert not (plain and address.is_private)


@given(st.ip_addresses())
def test_no_private_address_is_public(address):
    assert not (outgoing.is_public(str(address)) and (address.is_private or address.is_multicast))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"]
)
def test_a_webhook_does_not_reach_the_machine_itself(app, receiver, configure, clean_database, work, host):
    configure({"url": f"http://{host}:{receiver.port}/", "events": ["*"], "secret": SECRET}, private=False)
    happen()
    work(app)
    (job,) = deliveries()
    assert receiver.requests == []
    assert job.state == JobState.RUNNING
    assert re.fullmatch(r"\S+ (is at an address that is not public|could not be reached: .*)\.", job.error)


@pytest.fixture
def names(monkeypatch):
    """``names["hooks.test"] = [[address, ...], ...]``: what each look-up of a name gives; then nothing."""
    known, real = {}, socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        if host not in known:
            return real(host, port, *args, **kwargs)
        if not known[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = known[host].pop(0)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize("found", [["93.184.216.34", "127.0.0.1"], ["2606:4700::1111", "::ffff:127.0.0.1"]])
def test_one_private_address_among_public_ones_is_enough(receiver, names, found):
    names["hooks.test"] = [found]
    with pytest.raises(Unavailable, match=r"hooks\.test is at an address that is not public\."):
        outgoing.post(f"http://hooks.test:{receiver.port}/", b"{}", {}, timeout=10)
    assert receiver.requests == []


def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_used(receiver, names, monkeypatch):
    checked = []
    names["hooks.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    monkeypatch.setattr(outgoing, "is_public", lambda address: checked.append(address) or True)
    status = outgoing.post(f"http://hooks.test:{receiver.port}/a", b"{}", {}, timeout=10)
    assert (status, checked, len(names["hooks.test"])) == (204, ["127.0.0.1"], 1)
    assert receiver.requests[0].headers["Host"] == f"hooks.test:{receiver.port}"


def test_the_next_address_is_tried_when_one_refuses(receiver, names):
    names["hooks.test"] = [["127.0.0.2", "127.0.0.1"]]
    url = f"http://hooks.test:{receiver.port}/"
    assert outgoing.post(url, b"{}", {}, timeout=10, allow_private=True) == 204


def test_a_name_that_is_not_known(names):
    names["hooks.test"] = []
    with pytest.raises(Unavailable, match=r"hooks\.test could not be reached: Name or service not known\."):
        outgoing.post("http://hooks.test/", b"{}", {}, timeout=10)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a certificate for hooks.test and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.test")])
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(encoding)
        + key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def secure(certificate):
    """A receiver that speaks TLS, and the names it was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    made = Receiver(context)
    made.asked = asked
    yield made
    made.stop()


def test_tls_is_spoken_with_the_name_and_not_with_the_address(secure, names, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names["hooks.test"] = [["127.0.0.1"]]
    url = f"https://hooks.test:{secure.port}/a"
    assert outgoing.post(url, b"{}", {}, timeout=10, allow_private=True) == 204
    assert secure.asked == ["hooks.test"]


@pytest.mark.parametrize(("host", "trusted"), [("hooks.test", False), ("other.test", True)])
def test_a_certificate_that_is_not_trusted_or_for_another_name_ends_it(
    secure, names, certificate, monkeypatch, host, trusted
):
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names[host] = [["127.0.0.1"]]
    with pytest.raises(Unavailable, match="could not be reached"):
        outgoing.post(f"https://{host}:{secure.port}/a", b"{}", {}, timeout=10, allow_private=True)
    assert secure.requests == []


def test_a_receiver_that_never_speaks_is_left_at_the_deadline():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        for scheme in ("http", "https"):
            url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/"
            with pytest.raises(Unavailable, match="no answer in time"):
                outgoing.post(url, b"{}", {}, timeout=0.2, allow_private=True)


def test_the_documented_check_of_a_signature_works():
    page = Path(__file__).resolve().parents[3] / "docs" / "events.md"
    (code,) = re.findall(r"```python\n(import hashlib.*?)```", page.read_text(encoding="utf-8"), re.S)
    found = {}
    exec(code, found)
    is_genuine, moment = found["is_genuine"], int(now().timestamp())
    header = webhooks.signature_of(b'{"id":1}', SECRET, moment)

    assert is_genuine(header, b'{"id":1}', SECRET)
    assert not is_genuine(header, b'{"id":2}', SECRET)
    assert not is_genuine(header, b'{"id":1}', "another")
    assert not is_genuine(header.replace(str(moment), str(moment + 1)), b'{"id":1}', SECRET)
    assert not is_genuine(webhooks.signature_of(b"", SECRET, moment - 400), b"", SECRET)


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("*", "core.user.created", True),
        ("core.user.*", "core.user.created", True),
        ("core.user.*", "core.user_class.created", False),
        ("core.user.created", "core.user.created", True),
        ("core.user", "core.user.created", False),
    ],
)
def test_patterns(pattern, name, meant):
    assert webhooks.matches(pattern, name) is meant


@pytest.mark.parametrize(
    "entry",
    [
        {"url": URL, "events": ["*"]},
        {"url": URL, "events": ["*"], "secret": ""},
        {"url": URL, "events": ["*"], "secret": "x", "colour": "red"},
        {"url": URL, "events": "core.user.*", "secret": "x"},
        {"url": URL, "events": ["core.*.created"], "secret": "x"},
        {"url": URL, "events": [7], "secret": "x"},
        *(
            {"url": url, "events": ["*"], "secret": "x"}
            for url in (
                7, "", "ftp://hooks.example.org/", "https://", "https:///a", "https://a:99999/", "https://a:b/",
                "https://[::1", "https://a b/", "https://a/\n", "https://ä.example.org/", "https://me:pw@a/",
                "https://a/#b",
            )
        ),
    ],
)  # fmt: skip
def test_a_webhook_of_another_form_stops_the_start(make_site, entry):
    with pytest.raises(ConfigError, match="WEBHOOKS"):
        make_site(WEBHOOKS=[entry])


def test_two_webhooks_cannot_have_one_address(make_site):
    entry = {"url": URL, "events": ["*"], "secret": "x"}
    with pytest.raises(ConfigError, match="the same address"):
        make_site(WEBHOOKS=[entry, entry | {"secret": "y"}])
