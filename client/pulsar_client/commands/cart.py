"""pulsar cart create|status|get|verify|ls|rm"""

import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client
from pulsar_client.errors import (
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    DigestMismatch,
    ProtocolError,
    SiteFailure,
)
from pulsar_client.files import format_bytes
from pulsar_client.handles import parse_handle

# OWNER/NAME, a revision and a part of it, as in ann/flights@1.0/raw.
PACKAGE = re.compile(r"([^/]*/[^/@]*)(?:@([^/]+))?(/.*)?", re.DOTALL)


@click.group()
def command() -> None:
    """Have files brought together, and fetch them as one tar.

    \b
    Examples:
      pulsar cart create --package demo/flights --uid 36a
      pulsar cart create files.json --wait
      pulsar cart status 36a
      pulsar cart get 36a -o flights.tar
      pulsar cart get 36a --unpack flights
      pulsar cart verify 36a flights/36a
      pulsar cart ls
      pulsar cart rm 36a
    """


@command.command(cls=PulsarCommand)
@click.argument("document", metavar="[FILE]", required=False, type=click.File("rb"))
@click.option(
    "-p",
    "--package",
    "packages",
    metavar="OWNER/NAME[@REVISION][/SUB]",
    multiple=True,
    help="A package of the site; may be repeated.",
)
@click.option("--uid", metavar="UID", help="The cart's id; otherwise one is made up.")
@click.option("--wait", is_flag=True, help="Return when the cart is ready.")
def create(document: Any, packages: tuple[str, ...], uid: str | None, wait: bool) -> None:
    """Make a cart and print its id.

    Of packages, or of the files that FILE lists as JSON; `-` is standard input. REVISION is a tag, a version
    or a digest. Several packages have folders of their own, OWNER/NAME.

    \b
    Examples:
      pulsar cart create --package demo/flights
      pulsar cart create --package demo/flights@1.0/raw --package demo/other
      pulsar cart create files.json --uid 36a --wait
    """
    if (document is None) == (not packages):
        raise click.UsageError("Name either a FILE or packages with --package.")
    files = _read(document) if document else [_parse_package(one, len(packages) > 1) for one in packages]
    with open_client() as client:
        name = client.carts.create(files, uid)
        status = client.carts.status(name, wait=wait)
    output = find_output()
    output.say(f"Made the cart {name}: {_describe(status)}.")
    output.show(status, lambda: iter([name]))
    _check(status)


def _read(document: Any) -> Any:
    try:
        return json.load(document)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{document.name} is not JSON.") from None


def _parse_package(text: str, in_folder: bool) -> dict[str, str]:
    """The entry that stands for a package, or for a part of it."""
    match = PACKAGE.fullmatch(text)
    package, revision, sub = match.groups() if match else (text, None, None)
    handle = parse_handle(f"{package}{(sub or '').rstrip('/')}", with_path=True)
    entry = {"source": "registry", "package": handle.package}
    more = {"hash": revision, "prefix": "/".join(handle.path), "path": str(handle) if in_folder else ""}
    return entry | {name: value for name, value in more.items() if value}


@command.command(cls=PulsarCommand)
@click.argument("uid")
@click.option("--wait", is_flag=True, help="Return when the cart is ready or has failed.")
def status(uid: str, wait: bool) -> None:
    """Show how far a cart is. The exit status is 1 if it has failed."""
    with open_client() as client:
        found = client.carts.status(uid, wait=wait)
    find_output().show(found, lambda: _list_status(found))
    _check(found)


@command.command(cls=PulsarCommand)
@click.argument("uid")
@click.option("-o", "--output", "path", metavar="FILE", type=Path, help="Where the tar goes; else UID.tar.")
@click.option("--unpack", metavar="DIR", type=Path, help="Unpack it into DIR, and remove the tar.")
@click.option("--wait", is_flag=True, help="Wait until the cart is ready.")
def get(uid: str, path: Path | None, unpack: Path | None, wait: bool) -> None:
    """Fetch a cart that is ready as one tar; print where it is.

    Every file in it is verified. After an interruption, get it again: it goes on where it was. Unpacked, the
    files are in a folder of DIR that is called as the tar is, without its ending; that is what is printed.
    """
    target = path / f"{uid}.tar" if path is not None and path.is_dir() else path or Path(f"{uid}.tar")
    with open_client() as client:
        if wait:
            _check(client.carts.status(uid, wait=True))
        result = _fetch(client, uid, target)
    place = Path(result.path)
    if unpack is not None:
        place = _unpack(place, unpack)
        Path(result.path).unlink()
    output = find_output()
    output.say(
        f"{result.files} files in {format_bytes(result.size)}, {format_bytes(result.fetched_bytes)} fetched."
    )
    if result.unverified:
        output.say(f"Of {len(result.unverified)} files the site knows no digest; their sizes are right.")
    output.show(result, lambda: iter([str(place)]))


def _fetch(client: Any, uid: str, target: Path) -> Any:
    """Fetch, and say what can be done if that fails."""
    try:
        return client.carts.fetch(uid, target)
    except Conflict as error:
        raise Conflict(f"{error} Wait for it with --wait.", status=error.status, code=error.code) from error
    except (ConnectionFailed, KeyboardInterrupt):
        find_output().say(f"What has come of {target} is kept: get the cart again, and it goes on.")
        raise


@command.command(cls=PulsarCommand)
@click.argument("uid")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(uid: str, folder: Path) -> None:
    """Hash the files of a cart in DIR again. The exit status is 1 if one is damaged or missing.

    DIR is the folder that `get --unpack` printed.
    """
    with open_client() as client:
        result = client.carts.verify(uid, folder)
    output = find_output()
    output.show(result, lambda: iter(_list_bad(result.damaged, result.missing)))
    if not result.ok:
        bad = len(result.damaged) + len(result.missing)
        if len(result.missing) == result.files:
            raise DigestMismatch(f"No file of the cart is in {folder}: is that the folder that holds them?")
        raise DigestMismatch(f"{bad} of {result.files} files are damaged or missing: get the cart again.")
    output.say(f"{result.files} files: all as they were.")


@command.command(cls=PulsarCommand)
def ls() -> None:
    """List your carts, newest first."""
    with open_client() as client:
        found = client.carts.list()
    rows = [
        {"uid": str(cart.get("uid")), "state": _describe(cart), "label": str(cart.get("label") or "")}
        for cart in found
    ]
    find_output().show(found, lambda: format_table(rows))


@command.command(cls=PulsarCommand)
@click.argument("uid")
def rm(uid: str) -> None:
    """Delete a cart."""
    with open_client() as client:
        client.carts.remove(uid)
    find_output().say(f"Deleted the cart {uid}.")


def _unpack(path: Path, folder: Path) -> Path:
    """Write the files of a tar below ``folder``; not by tarfile, whose safe way not every Python 3.11 has.

    :returns: the folder that all of them are in.
    """
    top = folder
    with tarfile.open(path, "r:", encoding="utf-8") as tar:
        for member in tar:
            parts = member.name.split("/")
            data = tar.extractfile(member)
            if data is None or not member.isreg() or {"", ".", ".."} & set(parts):
                raise ProtocolError(f"The tar holds {member.name!r}, which cannot be unpacked here.")
            target, top = folder.joinpath(*parts), folder / parts[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(data, file)
            os.utime(target, (member.mtime, member.mtime))
    return top


def _check(status: dict[str, Any]) -> None:
    if status["state"] == "error":
        raise SiteFailure(f"The cart failed: {status.get('message')}", status=500)


def _describe(cart: dict[str, Any]) -> str:
    files, size = cart.get("files"), cart.get("bytes")
    if not isinstance(files, dict) or not isinstance(size, dict):
        return str(cart.get("state"))
    amounts = [format_bytes(one) for one in (size.get("done"), size.get("total")) if isinstance(one, int)]
    amount = "/".join(dict.fromkeys(amounts)) or "?"
    return f"{cart.get('state')}, {files.get('done')}/{files.get('total')} files, {amount}"


def _list_status(cart: dict[str, Any]) -> Iterator[str]:
    yield _describe(cart)
    if cart.get("message"):
        yield str(cart["message"])
    for error in cart.get("errors") or ():
        yield f"{error.get('path')}: {error.get('reason')}"


def _list_bad(damaged: list[str], missing: list[str]) -> Iterator[str]:
    yield from (f"damaged {path}" for path in damaged)
    yield from (f"missing {path}" for path in missing)
