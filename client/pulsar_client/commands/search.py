"""pulsar search"""

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client

PREVIEW = 60  # characters of a readme's first line


@click.command(cls=PulsarCommand)
@click.argument("words", nargs=-1)
@click.option(
    "-n", "--limit", metavar="N", type=click.IntRange(1, 1000), default=100, help="At most so many; 100."
)
def command(words: tuple[str, ...], limit: int) -> None:
    """Find packages on the site, the best first.

    All words must be there: in the names of owner and package, in names in the package, or in its readme.
    Without words, everything that you may see is listed.

    \b
    Examples:
      pulsar search flights 2013
      pulsar search demo/
    """
    with open_client() as client:
        found = client.search(" ".join(words), limit=limit)
    rows = [
        {"package": f"{item['owner']}/{item['name']}", "shared": _describe(item), "readme": _preview(item)}
        for item in found
    ]
    output = find_output()
    if len(found) == limit:
        output.say(f"The first {limit}; there may be more.")
    output.show(found, lambda: format_table(rows))


def _describe(item: dict[str, object]) -> str:
    if item.get("is_public"):
        return "public"
    return "team" if item.get("is_team") else "private"


def _preview(item: dict[str, object]) -> str:
    lines = str(item.get("readme_preview") or "").strip().splitlines()
    first = lines[0].strip("# \t") if lines else ""
    return first if len(first) <= PREVIEW else first[: PREVIEW - 1] + "…"
