"""A cart holds packages: all files of a revision, or of a part of it, as their reader may have them."""

import json
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from cart_kit import READY
from cart_kit import Person as Taker
from registry_kit import Person, group, leaf, parquet, root, sha, table

from core.db import db
from core.users import services

CSV, NOTE, TABLE = b"a,b\n1,2\n", b"hello\n", parquet({"a": [1]})


@pytest.fixture
def people(app, clean_database):
    """``people("ann")``: somebody who pushes, and ``.cart``, who makes carts."""
    services.grant_defaults("registry")
    services.grant_defaults("cart")
    db.session.commit()

    def make(name):
        user = services.create_user(name, "correct horse 1!", f"{name}@example.org")
        _, key = services.create_key(user, permanent=True)
        db.session.commit()
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return SimpleNamespace(registry=Person(name, client), cart=Taker(app, name, key))

    return make


@pytest.fixture
def ann(people):
    return people("ann")


@pytest.fixture
def top(ann):
    """The top hash of a package with a readme, a folder and tables."""
    tree = root(
        README=leaf(NOTE),
        raw=group(
            one=leaf(CSV, metadata={"q_path": "data/one.csv"}),
            same=leaf(NOTE, metadata={"q_path": "other/one.csv"}),
            deep=group(numbers=table(TABLE)),
        ),
        parts=table(TABLE, CSV),
    )
    return ann.registry.push_tree("ann/things", tree, CSV, NOTE, TABLE)


def paths(taker, uid):
    lines = taker.client.get(f"/cart/{uid}/manifest").text.splitlines()
    return {line["path"]: line for line in map(json.loads, lines)}


def whole(**more):
    return {"source": "registry", "package": "ann/things", **more}


def test_a_whole_package_is_ready_at_once(ann, top):
    ann.cart.makes("u", whole(hash=top, path="here"))
    assert ann.cart.state("u") == READY
    found = paths(ann.cart, "u")
    assert set(found) == {
        "here/README",
        "here/raw/one",
        "here/raw/same",
        "here/raw/deep/numbers.parquet",
        "here/parts.parquet/00000.parquet",
        "here/parts.parquet/00001.parquet",
    }
    assert found["here/raw/one"]["size"] == len(CSV)
    assert found["here/raw/one"]["verified"] is True


def test_a_part_of_a_package_and_a_single_file_can_be_had(ann, top):
    ann.cart.makes(
        "u", whole(hash=top, prefix="raw/deep", path="x"), whole(hash=top[:8], prefix="/README/", path="y")
    )
    assert set(paths(ann.cart, "u")) == {"x/numbers.parquet", "y/README"}


@pytest.mark.parametrize(
    "entry",
    [
        {"package": "ann/nothing"},
        {"package": "things"},
        {"package": 7},
        {"hash": "0" * 64},
        {"hash": ["latest"]},
        {"prefix": "gone"},
        {"prefix": "README/x"},
        {"package": "ann/things\0"},
    ],
)
def test_what_there_is_not_makes_the_cart_fail(ann, top, entry):
    answer = ann.cart.post("u", whole(path="x") | entry)
    if answer.status_code == 400:  # a text that no database could hold
        assert "\0" in entry["package"]
        return
    assert ann.cart.state("u")[:2] == (500, "error")
    assert "not available" in ann.cart.state("u")[2]


def test_several_that_there_are_not_can_be_wanted_in_one_folder(ann, top):
    ann.cart.makes("u", whole(package="ann/a", path="x"), whole(package="ann/b", path="x"))
    assert "2 of 2 files failed" in ann.cart.state("u")[2]


def test_what_one_may_not_read_looks_like_what_there_is_not(people, ann, top):
    bob = people("bob")
    bob.cart.makes("secret", whole(hash=top, path="x"))
    bob.cart.makes("nothing", whole(package="ann/nothing", hash=top, path="x"))
    secret, nothing = bob.cart.state("secret"), bob.cart.state("nothing")
    assert secret[:2] == (500, "error")
    assert secret[2] == nothing[2].replace("ann/nothing", "ann/things")


def test_who_may_not_read_the_package_any_more_may_not_download_it(people, ann, top):
    bob = people("bob")
    assert ann.registry.put("/api/access/ann/things/bob").status_code == 200
    bob.cart.makes("u", whole(hash=top, path="x"))
    assert bob.cart.state("u") == READY
    assert len(paths(bob.cart, "u")) == 6
    assert ann.registry.delete("/api/access/ann/things/bob").status_code == 200
    answer = bob.cart.client.get("/cart/u/manifest")
    assert answer.status_code == 404
    assert answer.json["message"] == "ann/things is not available any more."


def test_a_cart_keeps_what_a_deleted_package_had(ann, top):
    ann.cart.makes("u", whole(hash=top, path="x"))
    assert ann.registry.delete("/api/package/ann/things/").status_code == 200
    assert ann.cart.client.get("/cart/u/manifest").status_code == 404  # its reader may not any more
    assert ann.cart.delete("u").status_code == 200


def transaction(taker, number):
    return taker.client.get(f"/cart/status/transactions/by_id/{number}")


def number_of(person, package="ann/things"):
    return person.registry.get(f"/api/log/{package}/").json["logs"][-1]["number"]


def as_pacifica_posts(found):
    """The entries that pacifica-downloader makes of what it was told of a number."""
    return [
        {
            "id": name,
            "path": f"{one['subdir']}/{one['name']}",
            "hashsum": one["hashsum"],
            "hashtype": one["hashtype"],
        }
        for name, one in found["files"].items()
    ]


@pytest.fixture
def numbered(settings):
    settings(CART_DEFAULT_SOURCE="registry")


def test_a_revision_is_downloaded_by_its_number(ann, top, numbered):
    number = number_of(ann)
    found = transaction(ann.cart, number).json
    assert found["files"][f"{number}/raw/deep/numbers.parquet"] == {
        "subdir": "raw/deep", "name": "numbers.parquet", "hashtype": "sha256", "hashsum": sha(TABLE)
    }  # fmt: skip
    ann.cart.makes("by_number", *as_pacifica_posts(found))
    assert ann.cart.state("by_number") == READY
    ann.cart.makes("whole", whole(hash=top))
    one, other = paths(ann.cart, "by_number"), paths(ann.cart, "whole")
    assert {path: line["sha256"] for path, line in one.items()} == {
        path: line["sha256"] for path, line in other.items()
    }


def test_a_number_stands_for_one_revision_however_often_it_was_pushed(ann, numbered):
    for content in (b"1", b"2", b"1"):
        ann.registry.push("ann/p", {"a": content})
    numbers = [entry["number"] for entry in ann.registry.get("/api/log/ann/p/").json["logs"]]
    assert numbers[0] == numbers[2] != numbers[1]
    found = [transaction(ann.cart, number).json["files"][f"{number}/a"] for number in numbers]
    assert [one["hashsum"] for one in found] == [sha(b"1"), sha(b"2"), sha(b"1")]


def test_a_package_without_files_has_a_number_too(ann, numbered):
    ann.registry.push_tree("ann/things", root())
    assert transaction(ann.cart, number_of(ann)).json == {"files": {}}


def test_files_of_a_number_have_paths_of_their_own(ann, numbered):
    called = {"x": "y", "y": "same", "z": "same", "g": "h", "k": "l"}
    leaves = {
        name: leaf(name.encode(), metadata={"q_path": file}) for name, file in called.items() if name != "g"
    }
    tree = root(
        h=group(g=leaf(b"g", metadata={"q_path": "i"})), g=leaf(b"g", metadata={"q_path": "h"}), **leaves
    )
    ann.registry.push_tree("ann/things", tree, b"x", b"y", b"z", b"g", b"k")
    found = transaction(ann.cart, number_of(ann)).json["files"]
    names = {path.partition("/")[2]: one["hashsum"] for path, one in found.items()}
    expected = {"x": b"x", "y": b"y", "z": b"z", "g": b"g", "h/i": b"g", "l": b"k"}
    assert names == {path: sha(content) for path, content in expected.items()}


def test_numbers_that_there_are_not(ann, top, numbered):
    odd = ["0", "-1", "01", "+1", "1.0", "x", "\0", "\u0661", "9" * 18, str(2**63), str(10**30), "9" * 4000]
    for number in odd:
        answer = transaction(ann.cart, quote(number))
        assert answer.status_code == 404, number
        assert answer.json["message"] == "There is no transaction of this number."
    entry = {"hashtype": "sha256", "hashsum": ""}
    for number in odd:
        if number != "\0":  # no database has it in a text
            ann.cart.makes(f"u{len(number)}", entry | {"id": f"{number}/README", "path": "x"})
            assert "not available" in ann.cart.state(f"u{len(number)}")[2], number


def test_a_number_is_for_those_who_may_read_the_package(people, ann, top, numbered, app):
    bob, number = people("bob"), number_of(ann)
    files = as_pacifica_posts(transaction(ann.cart, number).json)
    secret, nothing = transaction(bob.cart, number), transaction(bob.cart, number + 1)
    assert secret.status_code == nothing.status_code == 404
    assert secret.json == nothing.json
    bob.cart.makes("u", *files)
    assert "6 of 6 files failed" in bob.cart.state("u")[2]
    assert transaction(Taker(app), number).headers["WWW-Authenticate"].startswith("Basic")

    ann.registry.put("/api/access/ann/things/bob")
    assert transaction(bob.cart, number).status_code == 200
    bob.cart.makes("u", *files)
    assert bob.cart.state("u") == READY
    assert bob.cart.get("u").status_code == 200
    ann.registry.delete("/api/access/ann/things/bob")
    assert bob.cart.get("u").status_code == 404


def test_a_source_without_numbers_has_no_transactions(ann, top, settings, tmp_path):
    for source in ("archive", "directory", "nowhere"):
        settings(CART_DEFAULT_SOURCE=source, CART_DIRECTORY=str(tmp_path))
        assert transaction(ann.cart, number_of(ann)).status_code == 404


def test_a_file_of_a_number_is_verified_and_may_be_wanted_twice(ann, top, numbered):
    one = {"id": f"{number_of(ann)}/README", "hashtype": "sha256", "hashsum": sha(NOTE)}
    ann.cart.makes("u", one | {"path": "a"}, one | {"path": "b"}, one | {"path": "c", "hashsum": ""})
    assert ann.cart.state("u") == READY
    ann.cart.makes("u", one | {"path": "a", "hashsum": "0" * 64})
    assert "hash" in ann.cart.state("u")[2]


def test_many_numbers_cost_no_more_statements_than_one(ann, top, numbered, query_counter):
    number = number_of(ann)

    def cost(uid, numbers):
        files = [{"id": f"{n}/README", "path": str(n), "hashtype": "sha256", "hashsum": ""} for n in numbers]
        with query_counter() as statements:
            ann.cart.makes(uid, *files)
        return len(statements)

    cost("warm", [number])
    assert cost("many", range(number, number + 50)) <= cost("two", [number, number + 50])
