"""The ``pulsar`` command: which commands there are, and what becomes of errors.

Exit status 0 fine, 1 failed, 2 wrong usage or configuration. Data goes to standard output, everything else to
standard error. Each command is a module of its own below ``pulsar_client.commands`` and is imported only when
it runs: `pulsar --help` answers from the table below, without requests, pyarrow or rich.
"""

import importlib
import io
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

import click

from pulsar_client import __version__
from pulsar_client.console import find_output, make_one_line
from pulsar_client.errors import EXIT_FAILED, EXIT_USAGE, PulsarError, SiteFailure

# Name, and the one line that `pulsar --help` shows; a test compares it with the command's own text.
COMMANDS = {
    "login": "Store an API key for a site, after checking it.",
    "logout": "Forget the stored key of a site.",
    "whoami": "Show who the site takes you for.",
    "config": "Show or change which site is used.",
    "build": "Make a revision of a package from files or a folder.",
    "check": "Run the checks of a build file.",
    "generate": "Write a first build file for a folder.",
    "push": "Send the latest local revision to the site.",
    "install": "Fetch a revision from the site.",
    "export": "Write the entries of a package as ordinary files.",
    "ls": "List local packages, or those of an owner on the site.",
    "inspect": "Show what is in a package.",
    "search": "Find packages on the site, the best first.",
    "log": "Show the pushes of a package, newest first.",
    "diff": "Show what differs between two revisions on the site.",
    "url": "Show a link to a file of a package on the site.",
    "access": "Show and change who may read a package.",
    "tag": "Show and change the tags of a package on the site.",
    "version": "Show and add the versions of a package on the site.",
    "delete": "Delete a package on the site.",
    "job": "Show and cancel what the site does in the background.",
    "verify": "Hash the local blobs of packages again.",
    "rm": "Remove a package from the local store.",
    "gc": "Remove from the local store what no revision needs.",
    "cart": "Have files brought together, and fetch them as one tar.",
}
SHOW_CURSOR = b"\x1b[?25h"
PATIENCE = 1.0  # s that threads have to end after Ctrl-C
MAX_ID = 64  # characters of a request's id
MAX_TEXT = 2000  # characters of what went wrong
_LINK_SECRETS = re.compile(r"\?[^\s?'\"()<>]+=[^\s'\"()<>]*")  # the query of a link is what opens it
_told_interrupted = threading.Event()
ALIASES = {"pull": "install"}


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"pulsar_client.commands.{name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="pulsar %(version)s")
def cli() -> None:
    """Build, push and install data packages.

    \b
    Examples:
      pulsar login https://data.example.org
      pulsar build demo/flights flights.csv
      pulsar push demo/flights
      pulsar install demo/flights

    The site and the key come from `pulsar login`, or from PULSAR_CLIENT_URL and PULSAR_CLIENT_KEY; files are
    kept in PULSAR_CLIENT_HOME.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave the process with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Names have characters that a terminal may lack.
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(run(arguments))


def _interrupt(*_: object) -> None:
    """Ctrl-C. Whatever is under way may be broken off anywhere, but threads want to end by themselves: they
    get a moment, or until somebody insists.
    """
    signal.signal(signal.SIGINT, _leave)
    patience = threading.Timer(PATIENCE, _leave)
    patience.daemon = True
    patience.start()
    raise KeyboardInterrupt


def _leave(*_: object) -> None:
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)  # Bars have hidden it.
    if not _told_interrupted.is_set():
        os.write(2, b"pulsar: interrupted\n")
    os._exit(EXIT_FAILED)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(given, prog_name="pulsar", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        return _fail(error.format_message(), EXIT_FAILED)
    except (click.Abort, KeyboardInterrupt):
        _told_interrupted.set()
        return _fail("interrupted", EXIT_FAILED)
    except SiteFailure as error:
        # Who runs the site finds the reason by it.
        request = f" (request {error.request_id[:MAX_ID]})" if error.request_id else ""
        return _fail(f"{error}{request}", error.exit_status)
    except PulsarError as error:
        return _fail(str(error), error.exit_status)
    except BrokenPipeError:
        # `pulsar ls | head`: nobody reads on. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", EXIT_FAILED)
    except Exception as error:
        return _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", EXIT_FAILED)


def _fail(text: str, status: int) -> int:
    if find_output().debug:
        for line in _LINK_SECRETS.sub("?...", traceback.format_exc()).splitlines():
            click.echo(make_one_line(line), err=True)
    click.echo(f"pulsar: {make_one_line(text[:MAX_TEXT])}", err=True)
    return status
