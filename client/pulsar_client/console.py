"""What all commands share: their options, and how they speak."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import click

from pulsar_client.errors import NotConfirmed
from pulsar_client.lazy import LazyModule
from pulsar_client.progress import NoProgress, Progress

MAX_TYPED = 1000  # characters

if TYPE_CHECKING:
    from pulsar_client import bars
    from pulsar_client.client import Client
    from pulsar_client.client import Client as make_client
else:
    bars = LazyModule("pulsar_client.bars")  # rich, and only on a terminal

    def make_client(*args: Any, **options: Any) -> "Client":
        return LazyModule("pulsar_client.client").Client(*args, **options)


@dataclass
class Output:
    """How this run was asked to speak."""

    json: bool = False
    quiet: bool = False
    debug: bool = False

    def say(self, text: str) -> None:
        """Tell a person what was done; on standard error, so that pipes carry data only."""
        if not (self.quiet or self.json):
            click.echo(make_one_line(text), err=True)

    def done(self, text: str, data: Any) -> None:
        """Tell a person what was done, and a program with ``data`` as JSON."""
        self.say(text)
        if self.json:
            self.show(data, lambda: iter(()))

    def show(self, data: Any, lines: Callable[[], Iterator[str]]) -> None:
        """Print the result: ``data`` as JSON if asked to, otherwise ``lines()``."""
        if self.json:
            click.echo(
                _STEERING.sub(_escape, json.dumps(data, default=_as_json, indent=2, ensure_ascii=False))
            )
        else:
            for line in lines():
                click.echo(make_one_line(line))


_output = Output()


def find_output() -> Output:
    """How the present run was asked to speak; the default outside of one."""
    return _output


class PulsarCommand(click.Command):
    """A command with ``--json``, ``--quiet`` and ``--debug``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += [
            _make_switch("--json", "Print the result as JSON."),
            _make_switch("--quiet", "Say nothing but results and errors.", "-q"),
            _make_switch("--debug", "Show a traceback when something fails."),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A new answer to how we speak for each run, also in one process."""
        _output.__dict__.update({name: ctx.params.pop(name) for name in ("json", "quiet", "debug")})
        return super().invoke(ctx)


def package_argument(metavar: str = "OWNER/NAME", **options: Any) -> Callable[[Any], Any]:
    """The argument ``package``, which a shell completes with those that are here."""
    return click.argument("package", metavar=metavar, shell_complete=_complete_package, **options)


def _complete_package(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """A shell shows nothing when this fails, and nobody wants to see why."""
    try:
        with make_client() as client:
            if not (client.settings.home / "quilt_packages").exists():
                return []  # Completing makes no folders.
            return [name for name in map(str, client.store.list_packages()) if name.startswith(begun)]
    except Exception:
        return []


def revision_options(command: Any) -> Any:
    """``-x``, ``-t`` and ``-v``: the arguments ``digest``, ``tag`` and ``version``; one may be given."""
    for short, name, metavar, text in (
        ("-v", "--version", "VERSION", "The revision of this version."),
        ("-t", "--tag", "TAG", "The revision of this tag; otherwise latest."),
        ("-x", "--digest", "HASH", "This revision; 6 characters are enough if they are unique."),
    ):
        command = click.option(short, name, metavar=metavar, help=text)(command)
    return command


def confirm(question: str, expected: str, *, sure: bool) -> None:
    """Have a person type ``expected``, unless ``sure``.

    :raises NotConfirmed: if something else is typed, or nothing because nobody is there.
    """
    if sure:
        return
    click.echo(make_one_line(question) + " ", nl=False, err=True)
    if sys.stdin.readline(MAX_TYPED).strip() != expected:
        raise NotConfirmed(f"Nothing was changed: {expected!r} was not typed.")


def _make_switch(name: str, text: str, *short: str) -> click.Option:
    return click.Option([name, *short], is_flag=True, help=text)


class Lines(NoProgress):
    """Where no bar can be drawn: only the sentences."""

    def say(self, text: str) -> None:
        _output.say(text)


@contextmanager
def open_client(**options: Any) -> Iterator["Client"]:
    """A client that shows bars on a terminal."""
    with _open_progress() as progress, make_client(progress=progress, **options) as client:
        yield client


@contextmanager
def _open_progress() -> Iterator[Progress]:
    if _output.quiet or _output.json or not sys.stderr.isatty():
        yield Lines()
        return
    with bars.open_bars() as progress:
        yield progress


# Control characters, what turns the direction of writing, lone halves of characters that no terminal takes.
_STEERING = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL = re.compile(rf"[\x00-\x08\x0a-\x1f]+|{_STEERING.pattern}+")
MAX_CELL = 200  # characters of one value in a table


def make_one_line(text: str) -> str:
    """Without line ends and control characters: what a site sends must not steer the terminal."""
    return _CONTROL.sub(" ", text).strip()


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def format_table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Rows of equal keys as aligned columns."""
    if not rows:
        return
    shown = [{key: _make_cell(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(row[key]) for row in shown) for key in shown[0]}
    for row in shown:
        yield "  ".join(row[key].ljust(widths[key]) for key in row).rstrip()


def _make_cell(value: str) -> str:
    text = make_one_line(value)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _as_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
