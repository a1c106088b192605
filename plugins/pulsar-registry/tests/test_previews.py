"""Previews of revisions, and the list of what was pushed last."""

from datetime import datetime

import pytest
from registry_kit import group, leaf, local, root, sha, sizes_of

pytestmark = pytest.mark.any_database


def preview(person, digest, handle="ann/p"):
    answer = person.get(f"/api/package_preview/{handle}/{digest}")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_a_preview_tells_what_is_in_a_revision(people):
    meta = b'{"a":1}'
    people.ann.send(b"# Hi", b"1", b"22", meta)
    tree = root(
        README=leaf(b"# Hi"),
        b=leaf(b"1", metadata={"q_path": "in\\Data.v2\\x.CSV"}, metadata_hash=sha(meta)),
        a=group(z=leaf(b"1", metadata={"q_path": "y/x.csv"}), y=leaf(b"22", metadata={"q_path": None})),
        c=leaf(metadata={"q_path": 7}),
    )
    digest = people.ann.request_push("ann/p", tree, sizes_of([b"# Hi", b"1", b"22", meta])).json[
        "package_hash"
    ]
    people.ann.request_push("ann/p", tree, sizes_of([b"# Hi", b"1", b"22", meta]))

    found = preview(people.ann, digest)

    assert found["preview"] == [["README", None], ["a", [["y", None], ["z", None]]], ["b", None], ["c", None]]
    assert found["file_types"] == {".csv": 2, "": 3}
    assert found["total_size_uncompressed"] == len(b"# Hi" + b"1" + b"22" + meta)
    assert (found["log_count"], found["n_pushes"]) == ([2], 2)
    assert (found["is_public"], found["is_team"]) == (False, False)
    assert found["created_by"] == found["updated_by"] == "ann"
    assert found["created_at"] < found["updated_at"]
    assert found["readme_preview"] == "# Hi"
    assert people.nobody.get(local(found["readme_url"])).data == b"# Hi"


def test_a_preview_is_cut_in_width_and_depth(people):
    deep = leaf()
    for _ in range(6):
        deep = group(g=deep)
    wide = {f"f{n:02}": leaf() for n in range(11)}
    tree = root(deep=deep, ten=group(**dict(list(wide.items())[:10])), eleven=group(**wide))
    digest = people.ann.request_push("ann/p", tree).json["package_hash"]

    found = preview(people.ann, digest)["preview"]

    assert found[0] == ["deep", [["g", [["g", [["g", [["...", None]]]]]]]]]
    assert [name for name, _ in found[1][1]] == [*list(wide)[:10], "..."]
    assert [name for name, _ in found[2][1]] == list(wide)[:10]


@pytest.mark.parametrize(("readme", "shown"), [(None, None), (b"", ""), (b"x" * 2000, "x" * 1024)])
def test_a_preview_shows_the_beginning_of_the_readme(people, readme, shown):
    digest = people.ann.push("ann/p", {} if readme is None else {"README": readme})
    found = preview(people.ann, digest)
    assert found["readme_preview"] == shown
    assert (found["readme_url"] is None) == (readme is None)


def test_a_preview_is_for_those_who_may_read(people):
    digest = people.ann.push("ann/p", {"a": b"1"})
    for person, path in ((people.bob, digest), (people.ann, "0" * 64), (people.ann, digest[:10])):
        answer = person.get(f"/api/package_preview/ann/p/{path}")
        assert (answer.status_code, answer.json["message"]) == (404, "Package hash does not exist")
    assert people.nobody.get(f"/api/package_preview/ann/p/{digest}").status_code == 401
    people.ann.put("/api/access/ann/p/bob")
    assert preview(people.bob, digest)["preview"] == [["a", None]]


def recent(person, query=""):
    return [
        f"{package['owner']}/{package['name']}"
        for package in person.get(f"/api/recent_packages/{query}").json["packages"]
    ]


def test_recent_packages_are_those_shared_with_all(people, public_site, settings):
    for person, name, more in (
        (people.ann, "old", {"is_public": True}),
        (people.ann, "hidden", {}),
        (people.bob, "ours", {"is_team": True}),
        (people.bob, "new", {"is_public": True}),
    ):
        person.push(f"{person.name}/{name}", {"a": b"1"}, **more)
    assert recent(people.nobody) == recent(people.ann) == ["bob/new", "ann/old"]
    people.ann.push("ann/old", {"a": b"2"})
    assert recent(people.nobody, "?count=1") == ["ann/old"]
    (package,) = people.nobody.get("/api/recent_packages/?count=1").json["packages"]
    assert datetime.fromisoformat(package["updated_at"]).tzinfo is not None

    settings(REGISTRY_ALLOW_PUBLIC=False)
    assert recent(people.ann) == ["bob/ours"]
    assert people.nobody.get("/api/recent_packages/").status_code == 401
    settings(REGISTRY_ALLOW_TEAM=False)
    assert recent(people.ann) == []


@pytest.mark.parametrize("count", ["0", "101", "x", "-1", "1.5", "9" * 30])
def test_a_strange_number_of_recent_packages_is_refused(people, count):
    assert people.ann.get(f"/api/recent_packages/?count={count}").status_code == 400
