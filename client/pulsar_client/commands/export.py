"""pulsar export"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client


@click.command(cls=PulsarCommand)
@click.argument("package", metavar="OWNER/NAME[/SUB]")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False))
@click.option("--parquet", is_flag=True, help="Write tables as Parquet rather than CSV.")
@click.option("-f", "--force", is_flag=True, help="Replace files that are there.")
def command(package: str, folder: str, parquet: bool, force: bool) -> None:
    """Write the entries of a package as ordinary files.

    Into DIR, by default the present folder, under their original names. Nothing is written if one of the
    files is there already.

    \b
    Examples:
      pulsar export demo/flights out/
      pulsar export demo/flights --parquet
    """
    with open_client() as client:
        result = client.export(package, folder, parquet=parquet, force=force)
    output = find_output()
    output.say(f"Wrote {len(result.files)} files to {result.folder}.")
    output.show(result, lambda: iter(result.files))
