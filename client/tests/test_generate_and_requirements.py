import os

import pytest

from pulsar_client import cli
from pulsar_client.errors import BuildError, ConfigurationError
from pulsar_client.requirements import Requirement, parse_requirement, read_requirements
from pulsar_client.yaml_input import load_yaml

CSV = b"a,b\n1,x\n"


def test_a_folder_gets_a_build_file_with_quilts_names(client, make_tree):
    folder = make_tree(
        {
            "a.csv": CSV, "a.txt": b"a", "2013 q1.tsv": b"a\tb\n", "sub/class.csv": CSV, "sub/sub.xls": b"x",
            "b.csv": CSV, "b/in.txt": b"", "日本.txt": b"", "no.md": b"", ".hidden": b"", "old~": b"",
            "quilt_packages/x": b"", "S06 -1": b"",
        }
    )  # fmt: skip
    (folder / "empty").mkdir()

    result = client.generate(folder)

    assert load_yaml(folder / "build.yml") == {
        "contents": {
            "b": {"in_": {"file": "b/in.txt"}},
            "empty": {},
            "sub": {
                "class_": {"file": "sub/class.csv"},
                "sub": {"file": "sub/sub.xls", "transform": "id"},
            },
            "n2013_q1": {"file": "2013 q1.tsv"},
            "S06__1": {"file": "S06 -1"},
            "a_csv": {"file": "a.csv"},
            "a_txt": {"file": "a.txt"},
            "b_csv": {"file": "b.csv"},
            "no": {"file": "no.md"},
            "日本.txt": {"file": "日本.txt"},
        }
    }
    assert result.entries == 10
    assert client.build("demo/x", folder / "build.yml").entries == 10
    assert client.load("demo/x/a_csv").table().num_rows == 1
    with pytest.raises(BuildError, match=r"Build file .*build\.yml already exists"):
        client.generate(folder)


def test_names_that_cannot_be_told_apart_are_refused_and_nothing_is_written(client, make_tree):
    folder = make_tree({"in/S06 1": b"", "in/S06-1": b""})

    with pytest.raises(BuildError, match=r"Duplicate node names in directory .*in: 'S06_1'"):
        client.generate(folder)
    assert list(folder.iterdir()) == [folder / "in"]


def test_a_name_that_is_not_utf8_is_named(client, make_tree):
    folder = make_tree({"ok": b""})
    (folder / os.fsdecode(b"a\xff.csv")).write_bytes(CSV)

    with pytest.raises(BuildError, match="not UTF-8"):
        client.generate(folder)
    assert not (folder / "build.yml").exists()


def test_the_command_says_which_file_it_wrote(make_tree, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PULSAR_CLIENT_HOME", str(tmp_path / "home"))
    folder = make_tree({"a.csv": CSV})

    assert cli.run(["generate", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}/build.yml\n"
    assert cli.run(["generate", str(folder)]) == 1


@pytest.mark.parametrize(
    ("text", "package", "revision"),
    [
        ("demo/x", "demo/x", {}),
        ("demo/x/sub/path.csv", "demo/x/sub/path.csv", {}),
        ("demo/x:h:2a0c44", "demo/x", {"digest": "2a0c44"}),
        ("demo/x/a:b:hash:2a0c44", "demo/x/a:b", {"digest": "2a0c44"}),
        (" demo/x:t:a:b ", "demo/x", {"tag": "a:b"}),
        ("demo/x:tag:reviewed", "demo/x", {"tag": "reviewed"}),
        ("demo/x:v:1.0", "demo/x", {"version": "1.0"}),
        ("demo/x/s:version:1.0", "demo/x/s", {"version": "1.0"}),
    ],
)
def test_a_requirement_names_a_package_and_a_revision(text, package, revision):
    assert parse_requirement(text) == Requirement(package, revision)


@pytest.mark.parametrize(
    "text", ["", "demo", "acme:demo/x", "demo/x:t:", "demo/x:q:1", "../x", "demo/x/../y"]
)
def test_what_is_no_requirement_is_refused(text):
    with pytest.raises(ConfigurationError):
        parse_requirement(text)


def test_requirements_come_from_a_file_or_from_several_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "packages:\n  - demo/x\n  - demo/y:tag:t\n"
    both = [Requirement("demo/x"), Requirement("demo/y", {"tag": "t"})]
    with pytest.raises(ConfigurationError, match=r"there is no quilt\.yml here"):
        read_requirements(None)
    (tmp_path / "quilt.yml").write_text(text)
    (tmp_path / "other").write_text("packages: []")

    assert read_requirements(None) == read_requirements(text) == both
    assert read_requirements("@other") == []
    assert read_requirements("demo/x:tag:t") == [Requirement("demo/x", {"tag": "t"})]
    for bad in (
        "@missing",
        "a:\n  b",
        "packages:\n  - [1]",
        "- demo/x\n- demo/y",
        "packages: demo/x\n",
        "[\n",
    ):
        with pytest.raises(ConfigurationError):
            read_requirements(bad)


def test_a_list_is_installed_only_if_all_of_it_makes_sense(
    client, make_client, make_tree, site, monkeypatch, capsys
):
    folder = make_tree({"a.csv": CSV, "n.txt": b"n"})
    client.build("demo/x", folder / "a.csv")
    client.push("demo/x")
    client.build("demo/y", folder / "n.txt")
    client.push("demo/y", tag="reviewed")
    other = make_client("other")
    asked = len(site.requests)

    with pytest.raises(ConfigurationError):
        other.install_all("packages:\n- demo/x\n- acme:demo/y\n")
    assert len(site.requests) == asked
    (folder / "quilt.yml").write_text("packages: [demo/x/a.csv, 'demo/y:t:reviewed']")
    monkeypatch.chdir(folder)
    results = other.install_all()

    assert [result.package for result in results] == ["demo/x", "demo/y"]
    assert other.load("demo/y/n.txt").path().read_bytes() == b"n"
    for name, value in (("URL", site.url), ("KEY", site.key), ("HOME", str(folder / "home"))):
        monkeypatch.setenv(f"PULSAR_CLIENT_{name}", value)
    assert cli.run(["install", "-q"]) == 0
    assert capsys.readouterr().out.split() == [result.digest for result in results]
    assert cli.run(["install", "@nothing.yml"]) == 2
    assert cli.run(["install", "demo/y:t:reviewed"]) == 0
