"""Every command, route, setting, hook and permission is documented, and no link in the documents is dead.

The code itself is asked what there is: the groups of commands, and an app with every plugin of this tree.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points

import click
import pytest

from core import hookspecs
from core.app import create_app
from core.cli.groups import PluginGroup
from core.plugins import GROUP
from core.site import site_of
from pulsar_client import cli

VARIABLE = re.compile(r"<[^>]+>")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


@pytest.fixture(scope="session")
def pages(root):
    """The text of every document, by its path."""
    return {path: path.read_text(encoding="utf-8") for path in sorted((root / "docs").rglob("*.md"))}


@pytest.fixture(scope="session")
def docs(pages):
    return "\n".join(pages.values())


@pytest.fixture(scope="session")
def app(root, tmp_path_factory):
    """A site with every plugin of this tree. It opens no connection."""
    names = []
    for path in sorted((root / "plugins").glob("*/pyproject.toml")):
        names += tomllib.loads(path.read_text(encoding="utf-8"))["project"]["entry-points"][GROUP]
    instance = tmp_path_factory.mktemp("instance")
    (instance / "config.py").write_text("", encoding="utf-8")
    return create_app(instance, PLUGINS=names, TESTING=True, SQLALCHEMY_DATABASE_URI="sqlite:///:memory:")


def missing(names, text: str) -> list[str]:
    """Those of ``names`` that ``text`` does not mention as whole words.

    A variable of a route may have any name: ``/jobs/<int:job_id>`` is documented as ``/jobs/<id>``, and
    ``/api/tag/<owner>/<name>/`` as ``/api/tag/O/P/``.
    """

    def found(name: str) -> bool:
        literal = [re.escape(part).replace(r"\ ", r"\s+") for part in VARIABLE.split(name)]
        pattern = r"(?:<\w+>|[A-Z]+)".join(literal)
        return re.search(rf"(?<![\w/-]){pattern}(?![\w/<-])", text) is not None

    return [name for name in names if not found(name)]


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below ``command`` with what is typed to call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from walk(inner, f"{path} {name}")


def flask_commands(app) -> dict[str, click.Command]:
    """Core's commands and those of the plugins; of ``flask db`` only what is not Flask-Migrate's own."""
    groups = {
        entry.name: entry.load()
        for entry in entry_points(group="flask.commands")
        if entry.value.startswith("core.")
    }
    groups |= {name: group for name, group in app.cli.commands.items() if isinstance(group, PluginGroup)}
    return {
        path: command
        for name, group in groups.items()
        for path, command in walk(group, f"flask {name}")
        if command.callback is None or not command.callback.__module__.startswith("flask_migrate")
    }


def routes(app) -> list[str]:
    return sorted(
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    )


def hooks(app) -> list[str]:
    manager = site_of(app).hooks
    return [name for name in vars(manager.hook) if not name.startswith("_")]


def emitted(modules) -> set[tuple[tuple[str, str], str]]:
    """Class and member of an event, and a key of its payload, wherever the packages call ``emit``."""
    found = set()
    for module in modules:
        for node in ast.walk(module.tree):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "emit" and node.args):
                continue
            inside = [part for part in ast.walk(node.args[0]) if isinstance(part, ast.Attribute)]
            keys = {word.arg for word in node.keywords if word.arg} - {"target", "session"}
            found |= {((ast.unparse(part.value), part.attr), key) for part in inside for key in keys}
    return found


def headings(text: str) -> set[str]:
    """The anchors that a page has, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.+)$", FENCED.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(pages, known) -> list[str]:
    """Relative links of ``pages`` that lead to no file or to no heading of it.

    :param known: texts of all pages by path, for the headings.
    """
    dead = []
    for path, text in pages.items():
        for link in LINK.findall(FENCED.sub("", text)):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            if not target.exists() or (anchor and anchor not in headings(known.get(target, ""))):
                dead.append(f"{path.name}: {link}")
    return dead


def test_every_flask_command_is_documented(app, docs, root):
    found = flask_commands(app)
    assert {"flask serve", "flask config init", "flask db status"} <= set(found), "the walk finds nothing"
    page = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    assert missing([name for name in found if name.split()[1] not in site_of(app).plugins], page) == []
    assert missing(found, docs) == []


def test_the_help_of_every_flask_command_has_an_example(app):
    # "flask db revision" and "migrate" say that another one does their work.
    helps = {name: command.help or "" for name, command in flask_commands(app).items()}
    assert [
        name
        for name, text in helps.items()
        if f"    {name}" not in text and "flask plugin revision" not in text
    ] == []


def test_every_pulsar_command_is_documented(docs):
    assert missing([f"pulsar {name}" for name in cli.COMMANDS], docs) == []


def test_every_route_is_documented(app, docs):
    names = routes(app)
    assert {"GET /health", "POST /api/objects/pack"} <= set(names), "the walk finds nothing"
    assert missing(names, docs) == []


def test_every_permission_is_documented(app, root):
    text = (root / "docs" / "permissions.md").read_text(encoding="utf-8")
    assert missing([f"| `{name}` |" for name in site_of(app).permissions], text) == []


def test_every_hook_is_documented(app, docs, root):
    page = (root / "docs" / "plugins" / "hooks.md").read_text(encoding="utf-8")
    own = [name for name in hooks(app) if hasattr(hookspecs, name)]
    assert own
    assert missing([f"### {name}" for name in own], page) == []
    assert missing(hooks(app), docs) == []


def test_every_event_is_documented_with_its_payload(app, root, modules):
    text = (root / "docs" / "events.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \|([^|]*)\|", text, re.M))
    events = site_of(app).events
    assert sorted(rows) == sorted(events)

    names = {(type(event).__name__, event.name): event.value for event in events.values()}
    said = {(names[event], key) for event, key in emitted(modules) if event in names}
    assert ("registry.tag.changed", "tag") in said, "the walk finds nothing"
    assert [(name, key) for name, key in sorted(said) if f"`{key}`" not in rows[name]] == []


def test_every_setting_is_documented_with_its_default_and_unit(app, root):
    text = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [
        f"| `{key}` | {'' if setting.default == '' else f'`{setting.default}`'} | {setting.unit} |"
        for key, (_, setting) in site_of(app).settings.declared.items()
    ]
    assert [row for row in rows if row not in text] == []


def test_the_example_shows_every_setting_of_core_once(app, root):
    text = (root / "instance" / "config.py.example").read_text(encoding="utf-8")
    shown = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+) = ", text, re.M)
    declared = [key for key, (owner, _) in site_of(app).settings.declared.items() if owner == "core"]
    assert sorted(shown) == sorted(declared)


def test_no_link_is_dead(pages, root):
    readme = {root / "README.md": (root / "README.md").read_text(encoding="utf-8")}
    assert dead_links(pages | readme, pages | readme) == []


@pytest.mark.parametrize(
    "name",
    [
        "flask probe dance",
        "pulsar dance",
        "GET /jobs/<int:job_id>/dance",
        "PROBE_DANCE",
        "GET /probe",
        "flask db",
    ],
)
def test_a_missing_name_is_found(name):
    text = "`flask probe dancer`, pulsar dances, `GET /jobs/<id>`, PROBE_DANCE_S, GET /probe/<id>, flask dbs"
    assert missing([name, "GET /jobs/<int:job_id>"], text) == [name]


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One title\n[a](page.md#one-title) [b](#two) [c](gone.md) [d](https://example.org)\n")
    texts = {page: page.read_text()}
    assert dead_links(texts, texts) == ["page.md: #two", "page.md: gone.md"]
