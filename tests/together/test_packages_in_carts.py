"""A cart holds packages: all files of a revision, or of a part of it, as their reader may have them."""

import json
from types import SimpleNamespace

import pytest
from cart_kit import READY
from cart_kit import Person as Taker
from registry_kit import Person, group, leaf, parquet, root, table

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
