"""pulsar check"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.errors import EXIT_FAILED


@click.command(cls=PulsarCommand)
@click.argument("file", metavar="[FILE]", default="build.yml", type=click.Path(exists=True, dir_okay=False))
@click.option("--allow-outside", is_flag=True, help="Let the build file read files outside of its folder.")
@click.option("--allow-python-checks", is_flag=True, help="Run checks that are Python code, without limits.")
def command(file: str, allow_outside: bool, allow_python_checks: bool) -> int | None:
    """Run the checks of a build file.

    On the files as they are now, by default those of build.yml. Nothing is built or kept. The exit status is
    1 if a check fails.

    \b
    Examples:
      pulsar check
      pulsar check study/build.yml
    """
    with open_client() as client:
        result = client.check(file, outside=allow_outside, allow_python=allow_python_checks)
    output = find_output()
    output.say(f"{result.checks} checks of {result.entries} entries: {len(result.failures)} failures.")
    output.show(result, lambda: iter(result.failures))
    return None if result.ok else EXIT_FAILED
