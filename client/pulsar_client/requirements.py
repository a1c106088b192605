"""Lists of packages to install: ``quilt.yml``, as Quilt has it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulsar_client.errors import BuildError, ConfigurationError
from pulsar_client.handles import parse_handle
from pulsar_client.yaml_input import load_yaml, parse_yaml

DEFAULT = "quilt.yml"  # what `install` without an argument reads

_REVISION = re.compile(r"(.*?)(?::(h|hash|t|tag|v|version):(.+))?", re.DOTALL)
_KINDS = {"h": "digest", "t": "tag", "v": "version"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package, or a part of one, and which revision of it; none means ``latest``."""

    package: str  # owner/name/sub/path
    revision: dict[str, Any] = field(default_factory=dict)  # one of digest, tag, version, with its text


def parse_requirement(text: str) -> Requirement:
    """``OWNER/NAME[/SUB][:h[ash]:HASH|:t[ag]:TAG|:v[ersion]:V]``.

    :raises ConfigurationError: if it is not that.
    """
    match = _REVISION.fullmatch(text.strip())
    assert match is not None  # Any text matches.
    package, kind, value = match.groups()
    if ":" in package.partition("/")[0]:
        raise ConfigurationError(f"{text!r} names a team, which is another site; log in there.")
    parse_handle(package, with_path=True)
    return Requirement(package, {_KINDS[kind[0]]: value} if kind else {})


def read_requirements(argument: str | None) -> list[Requirement]:
    """What `install` shall install.

    :param argument: ``@FILE``; the text of such a file, in several lines; one requirement; or None for
        ``quilt.yml``.
    :raises ConfigurationError: if there is no such file, or something else in it.
    """
    if argument is not None and not argument.startswith("@") and "\n" not in argument:
        return [parse_requirement(argument)]
    try:
        if argument is not None and not argument.startswith("@"):
            name, document = "the list of packages", parse_yaml(argument, "the list of packages")
        else:
            name = DEFAULT if argument is None else argument[1:]
            if argument is None and not Path(DEFAULT).exists():
                raise ConfigurationError(f"Name a package; there is no {DEFAULT} here.")
            document = load_yaml(Path(name))
    except BuildError as error:
        raise ConfigurationError(str(error)) from error
    packages = document.get("packages") if isinstance(document, dict) else None
    if not isinstance(packages, list) or not all(isinstance(one, str) for one in packages):
        raise ConfigurationError(f"{name} must have `packages`, a list of packages.")
    return [parse_requirement(one) for one in packages]
