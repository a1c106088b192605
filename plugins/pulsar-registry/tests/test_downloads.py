"""Files by their path, and tables read in place by the tools people use."""

import threading
from urllib.parse import urlsplit

import polars
import pyarrow.parquet
import pytest
from registry_kit import group, leaf, local, parquet, root, table
from werkzeug.serving import WSGIRequestHandler, make_server

pytestmark = pytest.mark.any_database

ROWS = 100_000
FLIGHTS = parquet({f"c{n}": range(n, ROWS + n) for n in range(10)}, row_group_size=10_000, compression="none")


@pytest.fixture
def package(people, settings):
    """The top hash of ann/p, whose ``latest`` has a file, a table and a table of two fragments."""
    settings(REGISTRY_PACK_OBJECT_BYTES=2**26)
    parts = [parquet({"a": [1, 2]}), parquet({"a": [3]})]
    tree = root(
        **{
            "flights.csv": table(FLIGHTS),
            "raw é?": leaf(b"hello"),
            "sub": group(
                x=leaf(b"hello", metadata={"q_path": "in\\notes.txt"}),
                parts=table(*parts),
                none=table(),
                kept=leaf(FLIGHTS, metadata={"q_path": "in/flights.PARQUET"}),
            ),
        }
    )
    digest = people.ann.push_tree("ann/p", tree, FLIGHTS, b"hello", *parts)
    people.ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    return digest


@pytest.fixture
def address(app):
    """The site as others reach it; ``address.log`` has method, path, status and range of each request."""

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code="-", size="-"):
            log.append((self.command, urlsplit(self.path).path, int(code), self.headers.get("Range")))

    class Address(str):
        pass

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made = Address(f"http://127.0.0.1:{server.server_port}")
    made.log = log = []
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(person, path, **headers):
    """Where the answer leads, and what is there for anybody."""
    answer = person.get(f"/api/object/ann/{path}")
    assert answer.status_code == 302, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return person.client.application.test_client().get(local(answer.headers["Location"]), headers=headers)


def test_a_file_is_found_by_its_path(people, package):
    people.ann.put("/api/version/ann/p/1.0", json={"hash": package})
    for path in (
        "p/raw é%3F",
        "p@latest/raw é%3F",
        f"p@{package[:9]}/raw é%3F",
        "p@1.0.0/raw é%3F",
        "p/sub/x",
    ):
        assert fetch(people.ann, path).data == b"hello", path
    part = fetch(people.ann, "p/sub/x", Range="bytes=1-3")
    assert (part.status_code, part.data) == (206, b"ell")
    assert people.ann.head("/api/object/ann/p/sub/x").status_code == 302


@pytest.mark.parametrize(
    ("path", "name", "media_type"),
    [
        ("flights.csv", "flights.parquet", "application/vnd.apache.parquet"),
        ("sub/kept", "flights.PARQUET", "application/vnd.apache.parquet"),
        ("sub/x", "notes.txt", "application/octet-stream"),
    ],
)
def test_a_browser_saves_what_it_is(people, package, path, name, media_type):
    answer = fetch(people.ann, f"p/{path}")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["Content-Type"] == media_type


def test_of_several_fragments_one_has_to_be_chosen(people, package):
    refused = people.ann.get("/api/object/ann/p/sub/parts")
    assert (refused.status_code, refused.json["code"]) == (409, "several_fragments")
    assert "?fragment=0 to 1" in refused.json["message"]
    for number, rows in ((0, 2), (1, 1)):
        content = fetch(people.ann, f"p/sub/parts?fragment={number}").data
        assert pyarrow.parquet.read_table(pyarrow.BufferReader(content)).num_rows == rows
    for path, status in (
        ("sub/parts?fragment=2", 404),
        ("sub/parts?fragment=-1", 400),
        ("sub/parts?fragment=x", 400),
        ("sub/parts?fragment=99999999999999999999", 400),
        ("sub/none", 404),
        ("flights.csv?fragment=1", 404),
    ):
        assert people.ann.get(f"/api/object/ann/p/{path}").status_code == status, path
    assert fetch(people.ann, "p/flights.csv?fragment=0").status_code == 200


def test_only_who_may_read_gets_a_link_and_only_to_what_is_there(people, package):
    for person, path, status in (
        (people.bob, "p/sub/x", 404),
        (people.nobody, "p/sub/x", 401),
        (people.ann, "p/sub", 400),
        (people.ann, "p/sub/", 404),
        (people.ann, "p/sub/y", 404),
        (people.ann, "p/sub/x/y", 404),
        (people.ann, "p/../p/sub/x", 404),
        (people.ann, "p@none/sub/x", 404),
        (people.ann, "q/sub/x", 404),
        (people.ann, "p/%00", 404),
        (people.ann, "p/%ff", 404),
    ):
        answer = person.get(f"/api/object/ann/{path}")
        assert answer.status_code == status, (path, answer.text)
        assert isinstance(answer.json["message"], str)
    # What one caller found is not remembered for another.
    fetch(people.ann, "p/sub/x")
    assert people.bob.get("/api/object/ann/p/sub/x").status_code == 404


def test_a_tag_that_moves_leads_to_the_new_bytes(people, package):
    assert fetch(people.ann, "p/sub/x").data == b"hello"
    other = people.ann.push_tree("ann/p", root(sub=group(x=leaf(b"moved"))), b"moved")
    people.ann.put("/api/tag/ann/p/latest", json={"hash": other})
    assert fetch(people.ann, "p/sub/x").data == b"moved"
    assert fetch(people.ann, f"p@{package}/sub/x").data == b"hello"


def bytes_asked(log):
    """Bytes that were read in ranges; nothing else may have been."""
    asked = [part.removeprefix("bytes=").split("-") for _, path, status, part in log if status == 206]
    assert asked, log
    return sum(int(stop) - int(start) + 1 if start else int(stop) for start, stop in asked)


def test_polars_reads_a_public_table_in_place(people, package, address, public_site):
    people.ann.put("/api/access/ann/p/public")
    url = f"{address}/api/object/ann/p/flights.csv"
    assert polars.scan_parquet(url).select(polars.col("c3").sum()).collect().item() == sum(range(3, ROWS + 3))
    assert {status for *_, status, _ in address.log} == {302, 206}
    assert bytes_asked(address.log) < len(FLIGHTS) / 2


def test_polars_reads_a_private_table_by_a_link(people, package, address):
    link = people.ann.get("/api/object/ann/p/flights.csv").headers["Location"]
    url = link.replace("http://localhost", address)
    assert polars.scan_parquet(url).select("c3").collect().height == ROWS
    assert {status for *_, status, _ in address.log} == {206}
