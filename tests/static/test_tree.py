"""What the repository holds and what it must not hold."""

import ast
import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Written in pieces, so that this file does not name what it forbids.
INDEX_HOSTS = tuple(
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
    ]
)
PERSONAL_PATH = re.compile(r"(?<![\w.:$/~}-])/" + r"(?:home|root|work|Users)" + r"/[\w.]")
VAGUE = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
MODULE_LINES = 500
FUNCTION_LINES = 60


def index_hosts(text: str) -> list[str]:
    """The hosts of package indexes that a text names."""
    return [host for host in INDEX_HOSTS if host in text.lower()]


def personal_paths(text: str) -> list[str]:
    """The places in a text that name a folder of one person's machine."""
    return [text[m.start() : m.start() + 40].partition("\n")[0] for m in PERSONAL_PATH.finditer(text)]


def long_functions(text: str) -> list[str]:
    """The functions that are longer than anyone can hold in mind, their docstrings not counted."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node, clean=False) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if lines > FUNCTION_LINES:
                found.append(f"{node.name} ({lines} lines)")
    return found


def lock_offences(lock: dict) -> list[str]:
    """Where a lock says from which index or machine something comes, or leaves open what it is."""
    offences = ["sources"] if lock["_meta"].get("sources") != [] else []
    for section in ("default", "develop"):
        for name, entry in lock[section].items():
            ours = entry.get("editable") and not entry.get("path", "/").startswith(("/", ".."))
            if {"index", "file", "git"} & set(entry) or not (
                ours or (entry.get("version") and entry.get("hashes"))
            ):
                offences.append(name)
    return offences


def unlocked(requirements: list[str], locked: dict[str, dict]) -> list[str]:
    """The requirements that a lock does not meet."""
    found = []
    for text in requirements:
        requirement = Requirement(text)
        entry = locked.get(canonicalize_name(requirement.name))
        version = (entry or {}).get("version", "").removeprefix("==")
        if entry is None or (version and not requirement.specifier.contains(version)):
            found.append(text)
    return found


@pytest.mark.parametrize("rule", [index_hosts, personal_paths])
def test_no_file_holds(rule, tracked, root):
    texts = {path: path.read_bytes().decode(errors="replace") for path in tracked}
    assert {str(path.relative_to(root)): rule(text) for path, text in texts.items() if rule(text)} == {}


def test_no_file_has_a_name_that_says_nothing(tracked, root):
    paths = [path.relative_to(root) for path in tracked]
    assert [str(path) for path in paths if path.name in VAGUE or "common" in path.parts] == []


def test_every_package_tells_its_types(packages):
    assert [name for name, folder in packages.items() if not (folder / "py.typed").is_file()] == []


def test_modules_stay_small(modules):
    sizes = {module.name: len(module.text.splitlines()) for module in modules}
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES} == {}


def test_functions_stay_small(modules):
    assert {
        module.name: long_functions(module.text) for module in modules if long_functions(module.text)
    } == {}


def test_the_pipfile_names_no_source(root):
    assert "source" not in tomllib.loads((root / "Pipfile").read_text())


def test_the_lock_says_what_and_not_from_where(root):
    assert lock_offences(json.loads((root / "Pipfile.lock").read_text())) == []


def test_the_lock_meets_what_the_packages_declare(root):
    lock = json.loads((root / "Pipfile.lock").read_text())
    declared = []
    for path in [*root.glob("*/pyproject.toml"), *root.glob("plugins/*/pyproject.toml")]:
        declared += tomllib.loads(path.read_text())["project"].get("dependencies", [])

    assert declared
    assert unlocked(declared, lock["default"]) == [], "make lock brings Pipfile.lock up to date"


def test_the_lock_holds_all_that_the_pipfile_wants(root):
    lock = json.loads((root / "Pipfile.lock").read_text())
    pipfile = tomllib.loads((root / "Pipfile").read_text())

    for wanted, locked in (("packages", "default"), ("dev-packages", "develop")):
        missing = pipfile[wanted].keys() - lock[locked].keys()
        assert missing == set(), "make lock brings Pipfile.lock up to date"


def test_every_package_is_installed_and_has_a_makefile(root):
    pipfile = tomllib.loads((root / "Pipfile").read_text())["packages"]
    installed = {entry["path"] for entry in pipfile.values() if "path" in entry}
    folders = [
        path.parent for path in [*root.glob("*/pyproject.toml"), *root.glob("plugins/*/pyproject.toml")]
    ]

    assert installed == {str(folder.relative_to(root)) for folder in folders}
    assert [folder.name for folder in folders if not (folder / "Makefile").is_file()] == []


@pytest.mark.parametrize("host", INDEX_HOSTS)
def test_an_index_host_is_noticed(host):
    assert index_hosts(f"see https://{host.upper()}/simple") == [host]


@pytest.mark.parametrize("folder", ["home", "root", "work", "Users"])
def test_a_personal_path_is_noticed(folder):
    assert personal_paths(f'open("/{folder}/me/x.csv")') != []


@pytest.mark.parametrize(
    "text", ["GET /users/1", "https://example.test/home/page", "docs/work/plan", "$PWD/work/x"]
)
def test_a_path_that_is_nobodys_passes(text):
    assert personal_paths(text) == []


def test_a_long_function_is_noticed_and_a_long_docstring_is_not():
    statements = "    x = 1\n" * FUNCTION_LINES
    docstring = '    """' + "\n" * FUNCTION_LINES + '    """\n'

    assert long_functions(f"def f():\n{statements}") == [f"f ({FUNCTION_LINES + 1} lines)"]
    assert long_functions(f"def f():\n{docstring}    x = 1\n") == []


@pytest.mark.parametrize(
    ("sources", "entry"),
    [
        ([{"name": "an index"}], {"version": "==1", "hashes": ["sha256:0"]}),
        ([], {"version": "==1", "hashes": ["sha256:0"], "index": "an index"}),
        ([], {"version": "==1"}),
        ([], {"file": "somewhere.whl", "hashes": ["sha256:0"]}),
        ([], {"editable": True, "path": "/somewhere"}),
    ],
)
def test_a_lock_with_a_place_in_it_is_noticed(sources, entry):
    assert len(lock_offences({"_meta": {"sources": sources}, "default": {"x": entry}, "develop": {}})) == 1


@pytest.mark.parametrize(
    ("wanted", "missing"), [("x>=2", ["x>=2"]), ("y", ["y"]), ("X>=1,<2", []), ("x[extra]", [])]
)
def test_a_requirement_the_lock_does_not_meet_is_noticed(wanted, missing):
    assert unlocked([wanted], {"x": {"version": "==1.4"}}) == missing
