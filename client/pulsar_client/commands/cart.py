"""pulsar cart create|status|get|verify|ls|rm"""

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client
from pulsar_client.errors import ConfigurationError, DigestMismatch, ProtocolError, SiteFailure
from pulsar_client.files import format_bytes


@click.group()
def command() -> None:
    """Have files brought together, and fetch them as one tar.

    \b
    Examples:
      pulsar cart create files.json --wait
      pulsar cart status 36a
      pulsar cart get 36a -o flights.tar
      pulsar cart get 36a --unpack flights
      pulsar cart verify 36a flights/36a
      pulsar cart ls
      pulsar cart rm 36a
    """


@command.command(cls=PulsarCommand)
@click.argument("document", metavar="FILE", type=click.File("rb"))
@click.option("--uid", metavar="UID", help="The cart's id; otherwise one is made up.")
@click.option("--wait", is_flag=True, help="Return when the cart is ready.")
def create(document: Any, uid: str | None, wait: bool) -> None:
    """Make a cart of the files that FILE lists, as JSON; `-` is standard input."""
    try:
        files = json.load(document)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{document.name} is not JSON.") from None
    with open_client() as client:
        name = client.carts.create(files, uid)
        status = client.carts.status(name, wait=wait)
    output = find_output()
    output.say(f"Made the cart {name}: {_describe(status)}.")
    output.show(status, lambda: iter([name]))
    _check(status)


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
    """Fetch a cart that is ready as one tar.

    Every file in it is verified. After an interruption, get it again: it goes on where it was.
    """
    with open_client() as client:
        if wait:
            _check(client.carts.status(uid, wait=True))
        result = client.carts.fetch(uid, path or Path(f"{uid}.tar"))
    if unpack is not None:
        _unpack(Path(result.path), unpack)
        Path(result.path).unlink()
    output = find_output()
    output.say(
        f"{result.files} files in {format_bytes(result.size)}, {format_bytes(result.fetched_bytes)} fetched."
    )
    if result.unverified:
        output.say(f"Of {len(result.unverified)} files the site knows no digest; their sizes are right.")
    output.show(result, lambda: iter([str(unpack or result.path)]))


@command.command(cls=PulsarCommand)
@click.argument("uid")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(uid: str, folder: Path) -> None:
    """Hash the files of a cart in DIR again. The exit status is 1 if one is damaged or missing."""
    with open_client() as client:
        result = client.carts.verify(uid, folder)
    output = find_output()
    output.show(result, lambda: iter(_list_bad(result.damaged, result.missing)))
    if not result.ok:
        bad = len(result.damaged) + len(result.missing)
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


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of a tar below ``folder``; not by tarfile, whose safe way not every Python 3.11 has."""
    with tarfile.open(path, "r:", encoding="utf-8") as tar:
        for member in tar:
            parts = member.name.split("/")
            data = tar.extractfile(member)
            if data is None or not member.isreg() or {"", ".", ".."} & set(parts):
                raise ProtocolError(f"The tar holds {member.name!r}, which cannot be unpacked here.")
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(data, file)
            os.utime(target, (member.mtime, member.mtime))


def _check(status: dict[str, Any]) -> None:
    if status["state"] == "error":
        raise SiteFailure(f"The cart failed: {status.get('message')}", status=500)


def _describe(cart: dict[str, Any]) -> str:
    files, size = cart.get("files"), cart.get("bytes")
    if not isinstance(files, dict) or not isinstance(size, dict):
        return str(cart.get("state"))
    total = size.get("total")
    amount = format_bytes(total) if isinstance(total, int) else "?"
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
