"""``flask registry``: look after packages."""

import json
from datetime import timedelta
from typing import Any

import click
from flask import current_app

from registry.services import search
from registry.services.collecting import collect
from registry.services.counts import count
from registry.services.verifying import Counts, verify

__all__ = ["gc_command", "reindex_command", "stats_command", "verify_command"]


def _json_option(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(
        command
    )


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--grace", type=click.IntRange(0), help="Seconds to be idle before removal [STORAGE_SWEEP_GRACE]."
)
@_json_option
def gc_command(dry_run: bool, grace: int | None, as_json: bool) -> None:
    """Remove what deleted packages leave behind.

    Objects and trees that no revision needs are given up, and blobs to which nobody has referred for the
    grace are swept, as the daily job does. Safe beside pushes.

    \b
        flask registry gc --dry-run
        flask registry gc --json
    """
    if grace is None:
        grace = current_app.config["STORAGE_SWEEP_GRACE"]
    report = collect(grace=timedelta(seconds=grace), dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return
    gives, removes = ("would give", "would remove") if dry_run else ("gave", "removed")
    click.echo(
        f"{gives} up {report.objects} objects; {removes} {report.blobs} blobs, {report.bytes} bytes; "
        f"{report.waiting_bytes} bytes wait for their grace of {grace} s"
    )
    if report.skipped:
        click.echo(f"{report.skipped} packages changed meanwhile, or are damaged: left alone", err=True)


@click.command("verify")
@click.option("--quick", is_flag=True, help="Do not read the bytes of objects again.")
@_json_option
def verify_command(quick: bool, as_json: bool) -> None:
    """Check every package: trees and top hashes, objects, the chain of the log, the bytes of each owner.

    One line for each thing that is wrong; exit status 1 if there is any. Reads every stored byte, and marks
    damaged blobs, as `flask storage verify` does.

    \b
        flask registry verify
        flask registry verify --quick --json
    """
    counts = Counts()
    findings = []
    for finding in verify(counts, quick=quick):
        if as_json:
            findings.append({"where": finding.where, "problem": finding.problem})
        else:
            click.echo(f"{finding.where}: {finding.problem}")
    if as_json:
        numbers = {"packages": counts.packages, "revisions": counts.revisions}
        click.echo(json.dumps({**numbers, "findings": findings}))
    else:
        looked = f"{counts.packages} packages with {counts.revisions} revisions"
        click.echo(f"{looked} verified, {counts.findings} findings")
    if counts.findings:
        raise SystemExit(1)


@click.command("stats")
@_json_option
def stats_command(as_json: bool) -> None:
    """Count packages, revisions, pushes and distinct bytes; in all, and of each owner.

    \b
        flask registry stats --json
    """
    found = count()
    if as_json:
        click.echo(json.dumps(found))
        return
    owners = found.pop("owners")
    for name, value in found.items():
        click.echo(f"{name:<10} {value}")
    for name, numbers in owners.items():
        click.echo(f"{name}: " + ", ".join(f"{value} {what}" for what, value in numbers.items()))


@click.command("reindex")
def reindex_command() -> None:
    """Make the search index anew, from the tag latest of every package.

    Needed when the rules for words changed, such as by a new version of the stemmer.

    \b
        flask registry reindex
    """
    click.echo(f"{search.reindex()} packages")
