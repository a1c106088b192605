"""Commands ``flask registry ...``."""

import click

from registry.services import search

__all__ = ["reindex"]


@click.command()
def reindex() -> None:
    """Make the search index anew, from the tag latest of every package.

    Needed when the rules for words changed, such as by a new version of the stemmer.
    """
    click.echo(f"{search.reindex()} packages")
