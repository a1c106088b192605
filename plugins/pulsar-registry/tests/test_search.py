"""Search: what is found, in which order, by whom; kept up by whoever moves ``latest``."""

import pytest
from registry_kit import group, leaf, root
from sqlalchemy import func, select

from core.db import db
from registry.models import Word
from registry.words import words_asked_for, words_of_names, words_of_text


def publish(person, name, readme=None, nodes=(), **more):
    files = {**({} if readme is None else {"README": readme.encode()}), **{node: b"1" for node in nodes}}
    digest = person.push(f"{person.name}/{name}", files, **more)
    assert person.put(f"/api/tag/{person.name}/{name}/latest", json={"hash": digest}).status_code == 200
    return digest


def find(person, question=None, **more):
    answer = person.get(
        "/api/search/", query_string={**({} if question is None else {"q": question}), **more}
    )
    assert answer.status_code == 200, answer.text
    return [f"{package['owner']}/{package['name']}" for package in answer.json["packages"]]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["dogCats_2013"], ["dogcat", "dog", "cat", "2013"]),
        (["nycflights13"], ["nycflight", "13"]),
        (["HTTPServer-log.CSV"], ["httpserver", "http", "server", "log", "csv"]),
        (["Redacted files"], ["redact", "file"]),
        (["café \uff26\uff55ll ß"], ["café", "full", "ss"]),
        (["日本語 data"], ["日本語", "data"]),
        (["", "___", "💥", "a" * 100], ["a" * 64]),
    ],
)
def test_names_are_cut_into_words(names, words):
    assert list(words_of_names(names)) == words


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("The flights of New York", ["flight", "new", "york"]),
        ("the of", ["the", "of"]),
        ("nycflights13 NYCFLIGHTS", ["nycflight", "13"]),
        ("!? ", []),
        ("%_' \"--", []),
        (" ".join(f"w{n}" for n in range(50)), ["w", *map(str, range(19))]),
    ],
)
def test_questions_are_cut_likewise(question, words):
    assert words_asked_for(question) == words


def test_a_text_keeps_no_words_that_every_text_has():
    assert list(words_of_text("It is the end; this ENDED.")) == ["end", "end"]


@pytest.fixture
def library(people):
    """Packages of ann, one with a word in its name, one in a node, one in the readme."""
    publish(people.ann, "weather", "Measured over many years.", ["stations_europe", "rainfall.csv"])
    publish(people.ann, "Europe", "Borders, redacted.", ["shapes2013"])
    publish(people.ann, "misc", "Some of Europe's weather was measured.", ["data.csv"])
    publish(people.ann, "dogscats", "Pictures.", ["img"])


FOUND = [
    ("europe", ["ann/Europe", "ann/weather", "ann/misc"]),
    ("EUROPE", ["ann/Europe", "ann/weather", "ann/misc"]),
    ("weather", ["ann/weather", "ann/misc"]),
    ("europe measured", ["ann/weather", "ann/misc"]),
    ("europe redact", ["ann/Europe"]),
    ("measure of the years", ["ann/weather"]),
    ("station", ["ann/weather"]),
    ("rainfalls csv", ["ann/weather"]),
    ("2013", ["ann/Europe"]),
    ("shapes2013", ["ann/Europe"]),
    ("dog cat", ["ann/dogscats"]),
    ("dogs pictures", ["ann/dogscats"]),
    ("weath", ["ann/weather"]),
    ("ur", []),
    ("ann", ["ann/dogscats", "ann/Europe", "ann/misc", "ann/weather"]),
    ("ann img", ["ann/dogscats"]),
    ("bob", []),
    ("europe nothing", []),
    ("the", []),
    ("!!!", []),
    ("'; DROP TABLE registry_words; --", []),
    ("%", []),
    ("eur%pe", []),
    ("_", []),
    ("ann/", ["ann/dogscats", "ann/Europe", "ann/misc", "ann/weather"]),
    ("ANN/europe", ["ann/Europe"]),
    (" ann/EUROPE ", ["ann/Europe"]),
    ("ann/euro", []),
    ("bob/", []),
    ("/europe", ["ann/Europe", "ann/weather", "ann/misc"]),
    ("", ["ann/dogscats", "ann/Europe", "ann/misc", "ann/weather"]),
    ("   ", ["ann/dogscats", "ann/Europe", "ann/misc", "ann/weather"]),
]


def test_what_is_found_and_in_which_order(people, library):
    assert [(question, find(people.ann, question)) for question, _ in FOUND] == FOUND


def test_an_answer_tells_what_the_client_shows(people, public_site):
    publish(people.ann, "p", "x" * 2000, is_public=True)
    publish(people.ann, "q")
    first, second = people.ann.get("/api/search/").json["packages"]
    assert first == {
        "owner": "ann",
        "name": "p",
        "is_public": True,
        "is_team": False,
        "readme_preview": "x" * 1024,
        "rank": 0,
    }
    assert (second["name"], second["readme_preview"]) == ("q", None)
    (only,) = people.ann.get("/api/search/?q=p").json["packages"]
    assert only["rank"] == 1


def test_names_are_ordered_without_case_and_owners_before_names(people, public_site):
    ann, bob = people.ann, people.bob
    for person, name in ((bob, "b"), (ann, "D"), (ann, "a"), (ann, "c"), (ann, "B")):
        publish(person, name, "common", is_public=True)
    ordered = ["ann/a", "ann/B", "ann/c", "ann/D", "bob/b"]
    assert find(people.eve) == find(people.eve, "common") == ordered
    assert find(people.eve, "common", limit=2, page=2) == ordered[2:4]


def test_only_what_one_may_read_is_found_or_counted(people, public_site):
    publish(people.ann, "open", "needle", is_public=True)
    publish(people.ann, "team", "needle", is_team=True)
    publish(people.ann, "mine", "needle")
    publish(people.bob, "his", "needle")

    def seen(person):
        answer = person.get("/api/search/?q=needle&limit=1")
        return answer.headers["X-Total-Count"], find(person, "needle"), find(person), find(person, "ann/")

    open_, team, mine = "ann/open", "ann/team", "ann/mine"
    assert seen(people.nobody) == ("1", [open_], [open_], [open_])
    assert seen(people.eve) == ("2", [open_, team], [open_, team], [open_, team])
    assert seen(people.ann) == ("3", [mine, open_, team], [mine, open_, team], [mine, open_, team])
    assert find(people.eve, "ann/mine") == []
    people.ann.put("/api/access/ann/mine/eve")
    assert find(people.eve, "ann/mine") == ["ann/mine"]
    people.ann.delete("/api/access/ann/mine/eve")
    assert find(people.eve, "needle") == [open_, team]


def test_a_rank_does_not_depend_on_what_others_have(people, public_site):
    publish(people.ann, "p", "needle in hay", ["hay"], is_public=True)
    before = people.eve.get("/api/search/?q=needle+hay").json
    for number in range(5):
        publish(people.bob, f"hidden{number}", "needle needle hay", ["needle"])
    assert people.eve.get("/api/search/?q=needle+hay").json == before


def test_without_a_login_there_is_nothing_where_nothing_is_public(people):
    publish(people.ann, "p")
    assert people.nobody.get("/api/search/?q=").status_code == 401


def test_the_index_follows_the_tag(people):
    ann = people.ann
    first = publish(ann, "p", "alpha", ["one"])
    assert (find(ann, "alpha"), find(ann, "beta")) == (["ann/p"], [])
    second = ann.push("ann/p", {"README": b"beta", "two": b"2"})
    assert (find(ann, "alpha"), find(ann, "beta")) == (["ann/p"], []), "a push alone moves no tag"
    ann.put("/api/tag/ann/p/latest", json={"hash": second})
    assert [find(ann, word) for word in ("alpha", "beta", "one", "two p")] == [[], ["ann/p"], [], ["ann/p"]]
    ann.put("/api/tag/ann/p/other", json={"hash": first})
    assert find(ann, "alpha") == []
    ann.delete("/api/tag/ann/p/latest")
    assert (find(ann, "beta"), find(ann), find(ann, "ann/p")) == ([], [], [])
    ann.put("/api/tag/ann/p/latest", json={"hash": first})
    assert (find(ann, "alpha"), find(ann, "beta")) == (["ann/p"], [])
    ann.delete("/api/package/ann/p/")
    assert (find(ann, "alpha"), find(ann)) == ([], [])
    assert db.session.scalar(select(func.count()).select_from(Word)) == 0


def test_a_tag_that_is_refused_changes_nothing_in_the_index(people):
    first = publish(people.ann, "p", "alpha")
    people.ann.put("/api/access/ann/p/bob")
    other = people.ann.push("ann/p", {"README": b"beta"})
    assert people.bob.put("/api/tag/ann/p/latest", json={"hash": other}).status_code == 403
    assert people.ann.put("/api/tag/ann/p/latest", json={"hash": "0" * 64}).status_code == 404
    assert (find(people.ann, "alpha"), find(people.ann, "beta")) == (["ann/p"], [])
    assert people.ann.get("/api/tag/ann/p/latest").json["hash"] == first


def test_the_index_is_bounded_and_keeps_what_is_near_the_root(people):
    deep = group(**{f"deep{n}": leaf(b"1") for n in range(3000)})
    readme = " ".join(f"word{n}" for n in range(8000)).encode()
    tree = root(README=leaf(readme), zdeep=deep, near=group(below=leaf(b"1")))
    digest = people.ann.push_tree("ann/p", tree, readme, b"1")
    people.ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    assert db.session.scalar(select(func.count()).select_from(Word)) <= 2000 + 5000 + 10
    assert find(people.ann, "near zdeep below") == ["ann/p"]


def test_the_index_can_be_made_anew(people, runner):
    publish(people.ann, "p", "alpha", ["one"])
    people.ann.push("ann/untagged", {"README": b"alpha"})
    words = set(db.session.execute(select(Word.word, Word.weight)).all())
    db.session.execute(Word.__table__.delete())
    db.session.commit()
    assert find(people.ann, "alpha") == []

    done = runner.invoke(args=["registry", "reindex"])

    assert (done.exit_code, done.output) == (0, "1 packages\n")
    db.session.rollback()
    assert set(db.session.execute(select(Word.word, Word.weight)).all()) == words
    assert find(people.ann, "alpha one") == ["ann/p"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("q=" + "x" * 1025, 400),
        ("limit=0", 400),
        ("limit=1001", 400),
        ("page=0", 400),
        ("page=1000001", 400),
        ("q=a&q=b", 400),
        ("x=1", 400),
        ("q=%00", 400),
        ("q=" + "%F0%9F%92%A5" * 50, 200),
        ("q=%ff", 200),
        ("page=1000000", 200),
        ("q=" + "a+" * 500, 200),
        ("q=" + "/" * 100, 200),
        ("q=a/b/c", 200),
        ("q=" + "x" * 500 + "/" + "y" * 500, 200),
    ],
)
def test_strange_questions_are_answered_or_refused(people, query, status):
    publish(people.ann, "p")
    assert people.ann.get(f"/api/search/?{query}").status_code == status


def test_a_page_after_the_last_knows_how_many_there_are(people, library):
    answer = people.ann.get("/api/search/?q=europe&page=9&limit=2")
    assert (answer.json["packages"], answer.headers["X-Total-Count"]) == ([], "3")
