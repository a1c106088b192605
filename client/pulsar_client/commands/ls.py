"""pulsar ls"""

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client


@click.command(cls=PulsarCommand)
@click.argument("owner", required=False)
def command(owner: str | None) -> None:
    """List local packages, or those of an owner on the site.

    \b
    Examples:
      pulsar ls
      pulsar ls demo
    """
    output = find_output()
    with open_client() as client:
        if owner is None:
            local = client.list_local()
            rows = [
                {
                    "package": item.package,
                    "digest": item.digest[:12],
                    "entries": "damaged" if item.entries is None else f"{item.entries} entries",
                }
                for item in local
            ]
            output.show(local, lambda: format_table(rows))
            return
        remote = client.list_remote(owner)
    seen = [{"package": f"{owner}/{item['name']}", "shared": _describe(item)} for item in remote]
    output.show(remote, lambda: format_table(seen))


def _describe(item: dict[str, object]) -> str:
    if item.get("is_public"):
        return "public"
    return "team" if item.get("is_team") else "private"
