"""``flask storage``: look after the bytes."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import func, select

from core.cli.groups import CommandGroup
from core.db import db
from core.errors import PulsarError
from core.storage import Blob, Checked, Reference, sweep, verify
from core.storage.factory import store

__all__ = ["storage"]


@click.group(cls=CommandGroup)
def storage() -> None:
    """Verify, sweep and explain stored blobs."""


@storage.command("verify")
@click.option("--all", "everything", is_flag=True, help="Read every blob. The default.")
@click.option("--older-than", "days", type=click.IntRange(0), help="Only blobs not read for this many days.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@with_appcontext
def verify_command(everything: bool, days: int | None, as_json: bool) -> None:
    """Read stored blobs again and compare them with their digests.

    Exit status 1 if any is damaged or missing; each is named, with what refers to it. Damaged blobs are
    not served any more; sending the bytes again repairs them.

    \b
        flask storage verify
        flask storage verify --older-than 30 --json
    """
    if everything and days is not None:
        raise click.UsageError("--all and --older-than exclude each other.")
    checked, problems = 0, []
    try:
        for one in verify(store().backend, older_than=None if days is None else timedelta(days=days)):
            checked += 1
            if one.problem:
                problems.append((one, store().references(one.digest)))
                if not as_json:
                    click.echo(_line(*problems[-1]))
    except PulsarError as exc:
        raise click.ClickException(exc.message) from None
    if as_json:
        click.echo(json.dumps({"checked": checked, "problems": [_as_json(*problem) for problem in problems]}))
    else:
        click.echo(f"{checked} blobs verified, {len(problems)} with problems")
    if problems:
        raise SystemExit(1)


@storage.command("sweep")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--grace", type=click.IntRange(0), help="Seconds to be idle before removal [STORAGE_SWEEP_GRACE]."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@with_appcontext
def sweep_command(dry_run: bool, grace: int | None, as_json: bool) -> None:
    """Remove blobs nobody refers to, and the remains of interrupted uploads; move what is left of packs.

    Safe beside a running site. A grace shorter than an upload takes can make the upload start again.

    \b
        flask storage sweep --dry-run
        flask storage sweep --grace 0
    """
    if grace is None:
        grace = current_app.config["STORAGE_SWEEP_GRACE"]
    try:
        report = sweep(store().backend, grace=timedelta(seconds=grace), dry_run=dry_run)
    except PulsarError as exc:
        raise click.ClickException(exc.message) from None
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return
    verb = "would remove" if dry_run else "removed"
    click.echo(
        f"{verb} {report.blobs} blobs, {report.bytes} bytes ({report.orphans} without a row), "
        f"{report.temporary} interrupted uploads, {report.packs} empty packs; {report.moved} blobs moved"
    )


@storage.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@with_appcontext
def stats_command(as_json: bool) -> None:
    """Count the blobs: all, idle, condemned, damaged, in packs; bytes kept and free.

    \b
        flask storage stats --json
    """
    columns = (
        func.count(),
        func.sum(Blob.size),
        *map(func.count, (Blob.idle_since, Blob.condemned_at, Blob.damaged_at, Blob.pack_id)),
    )
    row = db.session.execute(select(*columns).select_from(Blob)).one()
    numbers = [int(number or 0) for number in row]
    found = dict(zip(("blobs", "bytes", "idle", "condemned", "damaged", "packed"), numbers, strict=True))
    answer = found | {"free_bytes": store().backend.free_bytes()}
    if as_json:
        click.echo(json.dumps(answer))
        return
    for name, value in answer.items():
        click.echo(f"{name:<10} {'unknown' if value is None else value}")


@storage.command("refs")
@click.argument("digest")
@with_appcontext
def refs_command(digest: str) -> None:
    """Say which columns refer to the blob DIGEST, and in how many rows.

    \b
        flask storage refs e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    """
    if db.session.get(Blob, digest) is None:
        raise click.ClickException(f"there is no blob {digest}")
    references = store().references(digest)
    for reference in references:
        click.echo(f"{reference.referrer.table}.{reference.referrer.column}: {reference.rows}")
    if not references:
        click.echo("nothing refers to it", err=True)


def _line(one: Checked, references: Sequence[Reference]) -> str:
    named = ", ".join(f"{ref.referrer.table}.{ref.referrer.column} ({ref.rows})" for ref in references)
    return f"{one.digest}: {one.problem}; referred to by {named or 'nothing'}"


def _as_json(one: Checked, references: Sequence[Reference]) -> dict[str, Any]:
    named = [
        {"table": ref.referrer.table, "column": ref.referrer.column, "rows": ref.rows} for ref in references
    ]
    return {"digest": one.digest, "size": one.size, "problem": one.problem, "references": named}
