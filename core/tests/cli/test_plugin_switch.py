"""``flask plugin enable`` and ``disable``: what they refuse, and that nothing else in the file changes."""

import stat

import pytest

from core.cli.plugin_list import NotPlain, add, remove

# Before, and after "new" was added; removing it again gives back what is before.
ADDED = {
    "one line": ("PLUGINS = ['a', 'b']\n", "PLUGINS = ['a', 'b', 'new']\n"),
    "empty": ("PLUGINS = []\n", 'PLUGINS = ["new"]\n'),
    "typed": ('PLUGINS: list[str] = ["a"]  # why\n', 'PLUGINS: list[str] = ["a", "new"]  # why\n'),
    "comma at the end": ('PLUGINS = ["a",]\n', 'PLUGINS = ["a", "new",]\n'),
    "a line each": (
        'A = "é"\nPLUGINS = [\n    "a",  # first, of [all]\n    "b",\n    # "off",\n]\nB = 1\n',
        'A = "é"\nPLUGINS = [\n    "a",  # first, of [all]\n    "b",\n    "new",\n    # "off",\n]\nB = 1\n',
    ),
    "not in ASCII": ('É = "é"; PLUGINS = ["a"]  # é\n', 'É = "é"; PLUGINS = ["a", "new"]  # é\n'),
    "lines of Windows": (
        'PLUGINS = [\r\n  "a",\r\n]\r\nB = 1\r\n',
        'PLUGINS = [\r\n  "a",\r\n  "new",\r\n]\r\nB = 1\r\n',
    ),
    "empty lines": ("PLUGINS = [\n    # none yet\n]\n", 'PLUGINS = [\n    # none yet\n    "new",\n]\n'),
    "closed on the last line": (
        'PLUGINS = ["a",  # one\n           "b"]\n',
        'PLUGINS = ["a",  # one\n           "b", "new"]\n',
    ),
}


@pytest.mark.parametrize("name", ADDED)
def test_a_name_is_added_and_taken_out_and_the_rest_stays(name):
    before, after = ADDED[name]

    assert add(before.encode(), "new").decode() == after
    assert remove(after.encode(), "new").decode() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('PLUGINS = ["new", "b"]\n', 'PLUGINS = ["b"]\n'),
        ('PLUGINS = ["a", "new", "b"]  # c\n', 'PLUGINS = ["a", "b"]  # c\n'),
        (
            'PLUGINS = [\n    "new",  # its reason\n    "b",\n]\n',
            'PLUGINS = [\n    # its reason\n    "b",\n]\n',
        ),
        (
            'PLUGINS = ["new",  # its reason\n           "b"]\n',
            'PLUGINS = [# its reason\n           "b"]\n',
        ),
        (
            'PLUGINS = ["a",  # its reason\n           "new"]\n',
            'PLUGINS = ["a",  # its reason\n           ]\n',
        ),
    ],
)
def test_no_comment_is_lost_when_a_name_is_taken_out(before, after):
    assert remove(before.encode(), "new").decode() == after


def test_a_missing_comma_is_written():
    assert add(b'PLUGINS = [\n    "a"  # c\n]\n', "new") == b'PLUGINS = [\n    "a",  # c\n    "new",\n]\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PLUGINS = ('a',)\n",
        "PLUGINS = ['a'] + MORE\n",
        "PLUGINS = ['a', NAME]\n",
        "PLUGINS = ['a']\nPLUGINS += ['b']\n",
        "PLUGINS = ['a']\nPLUGINS.append('b')\n",
        "if DEBUG:\n    PLUGINS = ['a']\n",
        "PLUGINS = [('a')]\n",
        "PLUGINS = [",
        "PLUGINS = ['\xff']".encode("latin-1"),
    ],
)
def test_what_is_not_one_plain_list_is_left_alone(text):
    with pytest.raises(NotPlain):
        add(text if isinstance(text, bytes) else text.encode(), "new")


def refused(result, *words):
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.stderr
    for word in words:
        assert word in result.stderr


def test_a_plugin_is_enabled_and_disabled(make_plugin, config, flask):
    make_plugin("probe")
    path = config("PLUGINS = []  # none")

    done = flask("plugin", "enable", "probe")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "flask db upgrade" in done.stdout
    assert path.read_text() == "SECRET_KEY = 'x'  # of the test\nPLUGINS = [\"probe\"]  # none\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]
    assert {row["name"]: row["enabled"] for row in flask("plugin", "list", "--json").json}["probe"] is True
    assert "already" in flask("plugin", "enable", "probe").stdout

    assert flask("plugin", "disable", "probe").exit_code == 0
    assert path.read_text() == "SECRET_KEY = 'x'  # of the test\nPLUGINS = []  # none\n"
    refused(flask("plugin", "disable", "probe"), "probe is not enabled")


def test_what_a_plugin_requires_comes_first_and_goes_last(make_plugin, config, flask):
    make_plugin("base", version="1.5")
    make_plugin("user", init="REQUIRES = ['base>=1']")
    make_plugin("picky", init="REQUIRES = ('base>=2',)")
    make_plugin("future", init="PLUGIN_API = '>=2'")
    path = config("PLUGINS = ['base']")

    refused(flask("plugin", "enable", "picky"), "needs base>=2, but version 1.5 is installed")
    refused(flask("plugin", "enable", "future"), "written for plugin API >=2")
    refused(flask("plugin", "enable", "ghost"), "not installed")
    assert flask("plugin", "enable", "user").exit_code == 0
    refused(flask("plugin", "disable", "base"), "user cannot do without base")
    assert "PLUGINS = ['base', 'user']" in path.read_text()
    assert flask("plugin", "disable", "user").exit_code == 0
    assert flask("plugin", "disable", "base").exit_code == 0
    refused(flask("plugin", "enable", "user"), "needs base>=1, which is installed but not enabled")
    assert "PLUGINS = []" in path.read_text()


def test_a_plugin_that_is_gone_can_be_disabled(config, flask):
    path = config("PLUGINS = [\n    'lab.ghost',\n]")
    assert flask("plugin", "disable", "ghost").exit_code == 0
    assert "PLUGINS = [\n]" in path.read_text()


def test_where_the_file_cannot_be_edited_the_line_is_said(make_plugin, config, flask):
    make_plugin("probe")
    make_plugin("other")
    path = config("PLUGINS = ['other']\nPLUGINS = PLUGINS[:]")
    before = path.read_bytes()
    refused(flask("plugin", "enable", "probe"), 'write PLUGINS = ["other", "probe"] there yourself')
    refused(flask("plugin", "disable", "other"), "write PLUGINS = [] there yourself")
    assert path.read_bytes() == before

    refused(flask("plugin", "enable", "probe", PULSAR_PLUGINS="[]"), "comes from environment")
    path.unlink()
    done = flask("plugin", "enable", "probe")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


def test_the_list_shows_what_each_plugin_wants_before_it_is_enabled(make_plugin, config, flask):
    make_plugin("idle", version="0.3", init="REQUIRES = ('base>=1', 'core')\nPLUGIN_API = '>=1,<2'")
    make_plugin("future", init="PLUGIN_API = '>=2'\nraise SystemExit('imported')")
    config("PLUGINS = ['ghost']")

    rows = {row["name"]: row for row in flask("plugin", "list", "--json").json}
    keys = ("installed", "enabled", "state", "api", "requires")
    idle = (True, False, "disabled", ">=1,<2", ["base>=1", "core"])
    assert tuple(rows["idle"][key] for key in keys) == idle
    assert tuple(rows["ghost"][key] for key in keys) == (False, True, "failed", "", [])
    assert "written for plugin API >=2, this is 1.0" in rows["future"]["failure"]
    assert rows["core"]["pending"].startswith("base -> core_")

    lines = flask("plugin", "list").stdout.splitlines()
    assert lines[0].startswith("NAME      VERSION  INSTALLED  ENABLED  STATE ")
    assert "idle      0.3      yes        no       disabled  >=1,<2  base>=1, core" in "\n".join(lines)
    assert any(line.startswith("  ! future (requirements): written for") for line in lines)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["plugin", "enable"], "Missing argument 'NAME'. See `flask plugin enable --help`."),
        (["plugin", "dance"], "No such command 'dance'."),
        (["plugin", "list", "--dance"], "No such option '--dance'."),
        (["jobs", "show", "x"], "'x' is not a valid integer."),
        (["db", "upgrade", "--dance"], "No such option '--dance'."),
        (["serve", "--port", "x"], "'x' is not a valid integer."),
    ],
)
def test_what_is_typed_wrongly_is_refused_in_one_line(config, flask, typed, said):
    config("")
    done = flask(*typed)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
