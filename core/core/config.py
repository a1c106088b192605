"""Settings: declared once, read from every source, checked all at once.

Later sources win: defaults, ``instance/config.py``, ``.env``, the environment (``PULSAR_<KEY>``),
arguments of :func:`core.app.create_app`. A plugin declares its settings in a class ``Config`` like
the one below; their names start with the plugin's name in upper case.
"""

import difflib
import json
import os
import runpy
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from dotenv import dotenv_values
from flask import Flask
from flask.cli import NoAppException
from marshmallow import ValidationError, fields, validate

__all__ = [
    "ConfigError",
    "Setting",
    "Settings",
    "declare",
    "find_instance_path",
    "read_sources",
    "resolve",
]

# Variables with the site's prefix that are not settings: they are read before there is a configuration,
# or belong to the client.
NOT_SETTINGS = ("PULSAR_INSTANCE_PATH", "PULSAR_CLIENT_", "PULSAR_TEST_", "PULSAR_TRACE_HOOKS")
DRIVERS = {  # what other systems call the databases, and the driver this site brings
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
EXAMPLE_SECRET = "replace me: flask config init writes a fresh one"  # noqa: S105 - it opens nothing


class ConfigError(NoAppException):
    """The site cannot start as it is configured. One line on standard error, exit status 2."""

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {self.format_message()}", err=True, file=file)


@dataclass(frozen=True)
class Setting:
    """One setting: what it is when nobody says anything, what it means, what it may be.

    :param unit: of the value: ``B``, ``s``, ``requests`` ... Empty for text, lists and switches.
    :param kind: the Python type; by default that of ``default``.
    :param item: type of what a list holds, or of the values of a table.
    :param check: raises :class:`marshmallow.ValidationError` for what the type alone lets through.
    :param secret: never shown; masked by ``flask config show``.
    :param aliases: environment variables that other systems use for the same thing.
    """

    default: Any
    doc: str = ""
    unit: str = ""
    kind: type | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    item: type | None = None
    check: Callable[[Any], None] | None = None
    secret: bool = False
    aliases: tuple[str, ...] = ()
    nullable: bool = False  # None is a value too: it switches off what is set here

    def load(self, value: Any) -> Any:
        """``value`` as this setting holds it.

        :raises ValidationError: if it is of another type or out of range.
        """
        if value is None and (self.nullable or self.default is None):
            return None
        return self._field().deserialize(value)

    def _field(self) -> fields.Field[Any]:
        kind = self.kind or type(self.default)
        checks: list[Any] = []
        if self.minimum is not None or self.maximum is not None:
            checks.append(validate.Range(self.minimum, self.maximum))
        if self.choices:
            checks.append(validate.OneOf(self.choices))
        if self.item or self.check:
            checks.append(self._check_further)
        if kind is int:
            return fields.Integer(strict=True, validate=checks)
        if kind in (list, tuple, set, frozenset):
            return _Collection(kind, validate=checks)
        simple: dict[type, Any] = {
            bool: fields.Boolean,
            float: fields.Float,
            str: fields.String,
            dict: fields.Dict,
        }
        made: fields.Field[Any] = simple.get(kind, fields.Raw)(validate=checks)
        return made

    def _check_further(self, value: Any) -> None:
        inside = value.values() if isinstance(value, Mapping) else value
        if self.item and not all(type(item) is self.item for item in inside):
            raise ValidationError(f"Not all of it is {self.item.__name__}.")
        if self.check:
            self.check(value)


class _Collection(fields.Field[Any]):
    """A list in the configuration, kept as the type the setting declares."""

    def __init__(self, kind: type, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            raise ValidationError("Not a list.")
        return self.kind(value)


@dataclass
class Settings:
    """The checked configuration: values, where each came from, what is wrong and what is odd."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    declared: dict[str, tuple[str, Setting]] = field(default_factory=dict)  # key: (plugin, setting)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def raise_errors(self) -> None:
        """:raises ConfigError: naming everything that is wrong, in one line."""
        if self.errors:
            raise ConfigError("configuration: " + "; ".join(self.errors))


def find_instance_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of everything that one instance reads and writes, absolute."""
    return Path(given or os.environ.get("PULSAR_INSTANCE_PATH") or "instance").resolve()


def read_sources(instance: Path, overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What every source says, unchecked, in the order in which later ones win.

    :raises ConfigError: if ``config.py`` is missing or is not Python.
    """
    path = instance / "config.py"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist. Run `flask config init` to write it.")
    try:
        names = runpy.run_path(str(path))
    except (Exception, SystemExit) as exc:  # whatever the operator's file raises is a mistake in that file
        raise ConfigError(f"{path} cannot be read: {type(exc).__name__}: {exc}") from exc
    try:
        dotenv = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{Path('.env').resolve()} cannot be read: {exc}") from exc
    return {
        str(path): {name: value for name, value in names.items() if name.isupper()},
        ".env": dict(dotenv),
        # The ``flask`` command has copied .env into the environment before anyone could look.
        "environment": {name: value for name, value in os.environ.items() if dotenv.get(name) != value},
        "arguments": dict(overrides),
    }


def resolve(
    sources: Mapping[str, Mapping[str, Any]],
    configs: Mapping[str, type],
    instance: Path,
    installed: tuple[str, ...] = (),
) -> Settings:
    """Check every setting that ``configs`` (plugin name: ``Config`` class) declares against ``sources``.

    :param installed: plugins that are installed but perhaps not enabled; their settings may stay in the
        configuration while they are switched off.
    """
    settings = Settings(declared=_declarations(configs))
    defaults = {key: deepcopy(setting.default) for key, (_, setting) in settings.declared.items()}
    settings.values, settings.sources = dict(defaults), dict.fromkeys(defaults, "default")
    aliases = {alias: key for key, (_, setting) in settings.declared.items() for alias in setting.aliases}
    for source, found in sources.items():
        if source in (".env", "environment"):
            found = _from_environment(found, aliases, settings)
        for key, value in found.items():
            _take(settings, source, key, value, installed)
    _check_secret(settings)
    _check_names(settings, installed)
    settings.values["SQLALCHEMY_DATABASE_URI"] = _absolute_sqlite(
        settings.values["SQLALCHEMY_DATABASE_URI"], instance
    )
    return settings


def _declarations(configs: Mapping[str, type]) -> dict[str, tuple[str, Setting]]:
    declared: dict[str, tuple[str, Setting]] = {}
    for plugin, config in configs.items():
        declared |= declare(plugin, config, declared)
    return declared


def declare(
    plugin: str, config: type, declared: Mapping[str, tuple[str, Setting]]
) -> dict[str, tuple[str, Setting]]:
    """The settings in the class ``config`` of ``plugin``.

    :raises ConfigError: if one is among those ``declared`` before it, or has another plugin's prefix.
    """
    found: dict[str, tuple[str, Setting]] = {}
    for key, value in vars(config).items():
        if not key.isupper():
            continue
        if key in declared:
            raise ConfigError(f"both {declared[key][0]} and {plugin} declare the setting {key}")
        if plugin != "core" and not key.startswith(_prefix(plugin)):
            raise ConfigError(f"the setting {key} of {plugin} does not start with {_prefix(plugin)}")
        found[key] = (plugin, value if isinstance(value, Setting) else Setting(value))
    return found


def _prefix(plugin: str) -> str:
    return plugin.upper().replace("-", "_") + "_"


def _from_environment(
    environ: Mapping[str, str], aliases: Mapping[str, str], settings: Settings
) -> dict[str, Any]:
    """Settings in the environment: ``PULSAR_A`` is A, ``PULSAR_A__b`` is A['b'], JSON where it parses."""
    named = {aliases[name]: text for name, text in environ.items() if name in aliases}
    named |= {
        name.removeprefix("PULSAR_"): text
        for name, text in sorted(environ.items())
        if name.startswith("PULSAR_") and not name.startswith(NOT_SETTINGS)
    }
    found: dict[str, Any] = {}
    for name, text in named.items():
        key, _, inner = name.partition("__")
        before = settings.values.get(key)
        value = text if isinstance(before, str) else _parse(text)
        if inner and isinstance(before, dict):
            outer = found.get(key, before)
            value = {**outer, inner: value} if isinstance(outer, dict) else outer
        elif inner and before is not None:
            value = {inner: value}  # nothing to look into: refused as of another type
        found[key] = value
    return found


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _take(settings: Settings, source: str, key: str, value: Any, installed: tuple[str, ...]) -> None:
    if key not in settings.declared:
        if key in Flask.default_config:
            settings.values[key] = value
        else:
            _report_unknown(settings, source, key, installed)
        return
    try:
        if key == "SQLALCHEMY_DATABASE_URI" and isinstance(value, str):
            value = _with_driver(value)
        settings.values[key] = settings.declared[key][1].load(value)
        settings.sources[key] = source
    except ValidationError as exc:
        words = " ".join(str(word) for word in exc.messages).rstrip(".")
        settings.errors.append(f"{key} ({source}): {words}")


def _report_unknown(settings: Settings, source: str, key: str, installed: tuple[str, ...]) -> None:
    enabled = {plugin for plugin, _ in settings.declared.values() if plugin != "core"}
    close = difflib.get_close_matches(key, settings.declared, n=1, cutoff=0.85)
    hint = f", did you mean {close[0]}?" if close else ""
    if close or any(key.startswith(_prefix(name)) for name in enabled):
        settings.errors.append(f"{key} ({source}): there is no such setting{hint}")
    elif not any(key.startswith(_prefix(name)) for name in installed):
        settings.warnings.append(f"{key} ({source}): no such setting is known; it does nothing")


def _check_secret(settings: Settings) -> None:
    relaxed = settings.values.get("DEBUG") or settings.values.get("TESTING")
    secret = settings.values["SECRET_KEY"]
    if not secret and not relaxed:
        settings.errors.append("SECRET_KEY: not set. Run `flask config init`, or set PULSAR_SECRET_KEY")
    elif secret == EXAMPLE_SECRET and not relaxed:
        settings.errors.append("SECRET_KEY: still that of the example. Put a random text of your own")


def _check_names(settings: Settings, installed: tuple[str, ...]) -> None:
    """A prefix for a plugin that is neither installed nor enabled is a spelling mistake."""
    known = {*installed, *(name.rpartition(".")[2] for name in settings.values["PLUGINS"])}
    for name in settings.values["URL_PREFIXES"]:
        if name not in known:
            settings.errors.append(
                f"URL_PREFIXES ({settings.sources['URL_PREFIXES']}): there is no plugin {name}"
            )


def _with_driver(uri: str) -> str:
    """``postgres://`` and its like, as hosters write them, with the driver that is installed here."""
    scheme, separator, rest = uri.partition("://")
    return f"{DRIVERS.get(scheme, scheme)}{separator}{rest}"


def _absolute_sqlite(uri: str, instance: Path) -> str:
    """``sqlite:///pulsar.db`` lies in the instance folder, not wherever the command was typed."""
    head, separator, name = uri.partition(":///")
    if separator and head.startswith("sqlite") and name and not name.startswith(("/", ":", "file:")):
        return f"{head}:///{instance / name}"
    return uri
