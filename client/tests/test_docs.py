import re
from pathlib import Path

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


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_documented(name):
    command = cli.cli.get_command(None, name)
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]

    assert [option for option in options if option not in TEXT] == []
