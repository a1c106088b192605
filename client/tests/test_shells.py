"""Completion in shells, and colours on terminals."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pulsar_client import bars, cli

SHELLS = ("bash", "zsh", "fish")


def complete(home, shell, *words):
    """What the shell is told when the last of the words is to be completed."""
    words = ["pulsar", *words]
    current = words[-1] if shell == "fish" else str(len(words) - 1)
    env = {"_PULSAR_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": current}
    with CliRunner(env=env | {"PULSAR_CLIENT_HOME": str(home)}).isolation() as (out, _, _):
        with pytest.raises(SystemExit):
            cli.run([])
        return out.getvalue().decode()


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_local_packages_are_completed(shell, client, make_tree):
    client.build("demo/flights", make_tree({"a": b"1"}), raw=True)
    home = client.settings.home
    assert "version" in complete(home, shell, "ver")
    assert "Hash the local blobs" in complete(home, shell, "veri") or shell == "bash"
    assert "add" in complete(home, shell, "tag", "a")
    assert "--digest" in complete(home, shell, "install", "--d")
    assert "running" in complete(home, shell, "job", "list", "--state", "ru")
    for command in (["push"], ["tag", "list"], ["verify"], ["inspect"]):
        assert "demo/flights" in complete(home, shell, *command, "demo/f")
        assert "demo/flights" not in complete(home, shell, *command, "demo/g")


@pytest.mark.parametrize("home", ["none", "broken"])
def test_completion_fails_silently_and_makes_nothing(tmp_path, home):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    assert complete(tmp_path / home, "bash", "push", "d").strip() == ""
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_its_script(shell):
    with CliRunner(env={"_PULSAR_COMPLETE": f"{shell}_source"}).isolation() as (out, _, _):
        with pytest.raises(SystemExit):
            cli.run([])
        assert f"{shell}_complete" in out.getvalue().decode()


# What a person does at a prompt, as far as a script can: load it, and ask what follows `pulsar veri`.
TYPED = {
    "bash": 'eval "$(_PULSAR_COMPLETE=bash_source pulsar)"; COMP_WORDS=(pulsar veri); COMP_CWORD=1; '
    'complete -p pulsar >/dev/null && _pulsar_completion pulsar; echo "${COMPREPLY[@]}"',
    "fish": '_PULSAR_COMPLETE=fish_source pulsar | source; complete -C "pulsar veri" | string split -f1 \\t',
    "zsh": 'autoload -U compinit && compinit -u; eval "$(_PULSAR_COMPLETE=zsh_source pulsar)"; '
    "[[ ${_comps[pulsar]} == _pulsar_completion ]] && echo verify",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_works_in_the_shell(shell, tmp_path):
    commands = Path(sys.executable).parent
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    env = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([shell, "-c", TYPED[shell]], env=env, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "verify"), done.stderr


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("no_color", [False, True])
def test_bars_have_colours_unless_nobody_wants_them(monkeypatch, no_color):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bars.open_bars() as progress:
        progress.start("push", 10)
        progress.advance(5)
    assert "push" in terminal.getvalue()
    assert ("\x1b[38;5;" in terminal.getvalue()) is not no_color
