"""pulsar build"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@click.argument("package", metavar="OWNER/NAME[/SUB]")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--raw", is_flag=True, help="Keep every file as it is, tables too.")
@click.option("--allow-outside", is_flag=True, help="Let a build file read files outside of its folder.")
@click.option("--allow-python-checks", is_flag=True, help="Run checks that are Python code, without limits.")
def command(
    package: str, paths: tuple[str, ...], raw: bool, allow_outside: bool, allow_python_checks: bool
) -> None:
    """Make a revision of a package from files or a folder.

    CSV and TSV files become tables (Parquet); Parquet files are taken as they are; all others are kept as
    plain files. One folder: what is in it becomes the package. One build file (.yml): what it says. Hidden
    files are left out. Files that did not change since the last build are not read again. With SUB only that
    part of the latest local revision is replaced.

    \b
    Examples:
      pulsar build demo/flights flights.csv
      pulsar build demo/survey data/
      pulsar build demo/export --raw dump.csv notes.txt
      pulsar build demo/study build.yml
      pulsar build demo/survey/2013/january.csv january.csv
    """
    with open_client() as client:
        switches = {
            "--raw": raw,
            "--allow-outside": allow_outside,
            "--allow-python-checks": allow_python_checks,
        }
        typed = ["pulsar", "build", *(name for name, given in switches.items() if given), package, *paths]
        result = client.build(
            package,
            paths,
            raw=raw,
            command=typed,
            outside=allow_outside,
            allow_python=allow_python_checks,
        )
    output = find_output()
    skipped = f", {result.skipped} hidden left out" if result.skipped else ""
    output.say(
        f"Built {result.package}: {result.entries} entries, {format_bytes(result.blob_bytes)}, "
        f"{result.new} read{skipped}."
    )
    output.show(result, lambda: iter([result.digest]))
