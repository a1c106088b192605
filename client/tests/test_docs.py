import re
from pathlib import Path

import click
import pytest

from pulsar_client import cli, settings

TEXT = (Path(__file__).parents[2] / "docs/client.md").read_text()


@pytest.mark.parametrize("name", [*cli.COMMANDS, *cli.ALIASES])
def test_every_command_is_documented(name):
    assert f"pulsar {name}" in TEXT


def test_every_environment_variable_is_documented():
    assert set(re.findall(r"PULSAR_CLIENT_\w+", settings.__doc__)) <= set(
        re.findall(r"PULSAR_CLIENT_\w+", TEXT)
    )


def walk(command, typed):
    """A command with what is typed to call it, and all below it."""
    yield typed, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{typed} {name}")


CONTEXT = click.Context(cli.cli)
ALL = {
    typed: command
    for name in cli.COMMANDS
    for typed, command in walk(cli.cli.get_command(CONTEXT, name), f"pulsar {name}")
}


@pytest.mark.parametrize("typed", ALL)
def test_every_option_is_documented(typed):
    options = [
        option for parameter in ALL[typed].params for option in parameter.opts if option.startswith("--")
    ]

    assert [option for option in options if option not in TEXT] == []


@pytest.mark.parametrize("typed", ALL)
def test_every_help_text_has_an_example(typed):
    """Its own, or one in that of its group."""
    group = ALL[typed.rpartition(" ")[0]].help if typed.count(" ") > 1 else ""
    assert f"      {typed}" in f"{ALL[typed].help}\n{group}"
