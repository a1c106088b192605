"""pulsar tag list|add|remove"""

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client, package_argument


@click.group()
def command() -> None:
    """Show and change the tags of a package on the site.

    A tag names a revision, and may be moved to another. REVISION is a digest, of which 6 characters are
    enough, a tag or a version; without one it is latest.

    \b
    Examples:
      pulsar tag list demo/flights
      pulsar tag add demo/flights reviewed 2a0c44
      pulsar tag remove demo/flights reviewed
    """


@command.command("list", cls=PulsarCommand)
@package_argument()
def list_tags(package: str) -> None:
    """Show the tags of a package.

    \b
    Example:
      pulsar tag list demo/flights
    """
    with open_client() as client:
        tags = client.tags.list(package)
    rows = [{"tag": tag, "digest": digest} for tag, digest in tags.items()]
    find_output().show({"tags": rows}, lambda: format_table(rows))


@command.command("add", cls=PulsarCommand)
@package_argument()
@click.argument("tag")
@click.argument("revision", metavar="[REVISION]", default="latest")
def add_tag(package: str, tag: str, revision: str) -> None:
    """Let a tag name a revision.

    \b
    Examples:
      pulsar tag add demo/flights reviewed
      pulsar tag add demo/flights latest 1.0
    """
    with open_client() as client:
        digest = client.tags.add(package, tag, revision)
    data = {"package": package, "tag": tag, "digest": digest}
    find_output().done(f"The tag {tag} of {package} names {digest[:12]}.", data)


@command.command("remove", cls=PulsarCommand)
@package_argument()
@click.argument("tag")
def remove_tag(package: str, tag: str) -> None:
    """Remove a tag; its revision stays.

    \b
    Example:
      pulsar tag remove demo/flights reviewed
    """
    with open_client() as client:
        client.tags.remove(package, tag)
    find_output().done(f"{package} has no tag {tag} any more.", {"package": package, "tag": tag})
