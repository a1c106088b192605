"""pulsar inspect"""

import json
from collections.abc import Iterator

import click

from pulsar_client.console import (
    PulsarCommand,
    find_output,
    format_table,
    open_client,
    package_argument,
    revision_options,
)
from pulsar_client.files import format_bytes
from pulsar_client.inspection import GROUP, Entry, Inspection


@click.command(cls=PulsarCommand)
@package_argument("OWNER/NAME[/SUB]")
@revision_options
def command(package: str, **revision: str | None) -> None:
    """Show what is in a package.

    Files and tables with their sizes, rows and columns of tables, and metadata: of the latest local
    revision, or with -x of another one that is here. With -t or -v, and with -x of one that is not here, of
    a revision of the site; its data is not fetched. Of a single table all columns are shown.

    \b
    Examples:
      pulsar inspect demo/flights
      pulsar inspect demo/flights/flights.csv
      pulsar inspect demo/flights -t latest
    """
    with open_client() as client:
        result = client.inspect(package, **revision)
    output = find_output()
    where = "here" if result.local else "on the site"
    output.say(f"{result.package} {result.digest[:12]}, {where}")
    output.show(result, lambda: _list_lines(result))


def _list_lines(result: Inspection) -> Iterator[str]:
    yield from format_table([_make_row(entry) for entry in result.entries])
    if len(result.entries) == 1 and (shape := result.entries[0].shape):
        yield ""
        yield from format_table(shape.columns)


def _make_row(entry: Entry) -> dict[str, str]:
    shape = f"{entry.shape.rows} x {len(entry.shape.columns)}" if entry.shape else ""
    return {
        "path": f"{entry.path}/" if entry.kind == GROUP else entry.path,
        "kind": entry.kind,
        "size": "?" if entry.size is None else format_bytes(entry.size),
        "shape": shape,
        "here": "" if entry.here else "not here",
        "metadata": "" if entry.metadata is None else json.dumps(entry.metadata, ensure_ascii=False),
    }
