"""Only that is fetched of which the metadata say what somebody looks for."""

import json

import pytest

from pulsar_client.errors import NotFound


@pytest.fixture
def survey(client, tmp_path):
    """A package on the site whose entries say where and when they were made."""
    folder = tmp_path / "survey"
    folder.mkdir()
    said = {"jfk.txt": {"site": {"name": "JFK"}, "year": 2013}, "lga.txt": {"site": {"name": "LGA"}}}
    for name, metadata in said.items():
        (folder / name).write_text(f"data of {name}")
        (folder / f"{name}.json").write_text(json.dumps(metadata))
    (folder / "all.json").write_text(json.dumps({"site": {"name": "EWR"}, "year": 2014}))
    (folder / "plain.txt").write_text("of nobody")
    (folder / "build.yml").write_text(
        "contents:\n"
        "  jfk: {file: jfk.txt, meta: jfk.txt.json}\n"
        "  newark:\n"
        "    meta: all.json\n"
        "    lga: {file: lga.txt, meta: lga.txt.json}\n"
        "    plain: {file: plain.txt}\n"
    )
    client.build("demo/survey", folder / "build.yml")
    client.push("demo/survey")
    client.rm("demo/survey")
    client.gc(grace=0)
    return "demo/survey"


def names_here(client, package):
    return {entry.path for entry in client.inspect(package).entries if entry.kind == "file" and entry.here}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"site.name": "JFK"}, {"jfk"}),
        ({"site.name": "EWR"}, {"newark/plain"}),
        ({"year": "2014"}, {"newark/lga", "newark/plain"}),
        ({"year": "2014", "site.name": "LGA"}, {"newark/lga"}),
    ],
)
def test_what_matches_is_fetched_and_nothing_else(client, survey, where, expected):
    client.install(survey, where=where)
    assert names_here(client, survey) == expected
    assert client.install(survey).fetched == 3 - len(expected), "the rest"


def test_what_nothing_says_is_not_found(client, survey, pulsar):
    with pytest.raises(NotFound, match="say site=JFK"):
        client.install(survey, where={"site": "JFK"})
    with pytest.raises(NotFound):
        client.install(f"{survey}/newark", where={"site.name": "JFK"})
    assert pulsar("install", survey, "--where", "site")[0] == 2
    assert pulsar("install", survey, "--where", "site.name=JFK")[0] == 0
