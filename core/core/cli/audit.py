"""``flask audit``: read the audit log."""

import json
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import with_appcontext

from core.audit import services
from core.audit.serializers import EventSchema
from core.cli.groups import Command
from core.models import Event

__all__ = ["audit"]


class Moment(click.ParamType[datetime]):
    """A time: seconds since 1970, or as ISO 8601 writes it, in UTC unless it names a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            if value.isdecimal():
                return datetime.fromtimestamp(int(value), UTC)
            moment = datetime.fromisoformat(value)
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time: write 2026-03-01, 2026-03-01T14:30 or seconds since 1970.")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command(cls=Command)
@click.option("--name", help="Only this event; with * at the end, all that begin so.")
@click.option("--actor", help="Only what the user of this name did.")
@click.option("--target", help="Only what happened to this, such as user:7.")
@click.option("--request-id", help="Only what happened in this request.")
@click.option("--since", type=Moment(), help="Not before this time.")
@click.option("--until", type=Moment(), help="Not after this time.")
@click.option("--after", type=click.IntRange(1), help="Only what is older than the event of this id.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@with_appcontext
def audit(limit: int, as_json: bool, **wanted: Any) -> None:
    """Show what happened, newest first.

    \b
        flask audit --name "core.user.*" --since 2026-03-01
        flask audit --actor ann --json
    """
    found = services.list_events(limit=limit, **{key: value for key, value in wanted.items() if value})
    if as_json:
        click.echo(json.dumps(EventSchema(many=True).dump(found), indent=2))
        return
    for event in found:
        click.echo(_line(event))


def _line(event: Event) -> str:
    when = event.happened_at.strftime("%Y-%m-%d %H:%M:%S")
    facts = json.dumps(event.payload, ensure_ascii=False) if event.payload else ""
    line = f"{event.id:>7}  {when}  {event.name:<32}  {event.actor or '-':<16}  {event.target}  {facts}"
    # What users have named may hold the control codes of a terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in line.rstrip())
