"""pulsar verify"""

from collections.abc import Iterator

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.errors import BlobDamaged
from pulsar_client.files import format_bytes
from pulsar_client.verify import VerifyResult


@click.command(cls=PulsarCommand)
@click.argument("package", metavar="OWNER/NAME")
def command(package: str) -> None:
    """Hash the local blobs of a package again.

    Damaged blobs are taken out of the store; build or install the package again to get good ones. The exit
    status is 1 if anything is damaged or missing.

    \b
    Example:
      pulsar verify demo/flights
    """
    with open_client() as client:
        result = client.verify(package)
    output = find_output()
    output.show(result, lambda: _list_lines(result))
    if not result.ok:
        bad = len(result.damaged) + len(result.missing)
        raise BlobDamaged(
            f"{bad} blobs of {result.package} are damaged or missing: build or install it again."
        )
    output.say(f"{result.checked} blobs, {format_bytes(result.checked_bytes)}: all as they were.")


def _list_lines(result: VerifyResult) -> Iterator[str]:
    yield from (f"damaged {blob}" for blob in result.damaged)
    yield from (f"missing {blob}" for blob in result.missing)
