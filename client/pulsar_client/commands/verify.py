"""pulsar verify"""

from collections.abc import Iterator

import click

from pulsar_client.console import PulsarCommand, find_output, open_client, package_argument
from pulsar_client.errors import BlobDamaged, ConfigurationError
from pulsar_client.files import format_bytes
from pulsar_client.verify import VerifyResult


@click.command(cls=PulsarCommand)
@package_argument("[OWNER/NAME]", required=False)
@click.option("-x", "--digest", metavar="HASH", help="This local revision; 6 characters are enough.")
def command(package: str | None, digest: str | None) -> None:
    """Hash the local blobs of packages again.

    Of one package, or of all that are here; of each its latest revision, unless -x names another. Damaged
    blobs are taken out of the store; build or install the package again to get good ones. The exit status
    is 1 if anything is damaged or missing.

    \b
    Examples:
      pulsar verify demo/flights
      pulsar verify
    """
    if digest and package is None:
        raise ConfigurationError("A revision is one of a package: name that too.")
    with open_client() as client:
        results = client.verify_all() if package is None else [client.verify(package, digest=digest)]
    output = find_output()
    output.show(results if package is None else results[0], lambda: _list_lines(results))
    if wrong := [result.package for result in results if not result.ok]:
        bad = {blob for result in results for blob in (*result.damaged, *result.missing)}
        raise BlobDamaged(
            f"{len(bad)} blobs of {', '.join(wrong)} are damaged or missing: build or install it again."
        )
    # A blob that packages share counts for each of them.
    checked, size = sum(one.checked for one in results), sum(one.checked_bytes for one in results)
    output.say(f"{checked} blobs, {format_bytes(size)}: all as they were.")


def _list_lines(results: list[VerifyResult]) -> Iterator[str]:
    for result in results:
        if result.problem:
            yield result.problem
        yield from (f"damaged {blob}" for blob in result.damaged)
        yield from (f"missing {blob}" for blob in result.missing)
