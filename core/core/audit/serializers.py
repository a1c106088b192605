"""Events as JSON, and what may be asked of them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from core.serializers import EpochSeconds, PageQuery, QueryInteger

__all__ = ["AuditQuery", "EventSchema"]

LATEST: Final = 2**36  # s since 1970, in the year 4147


class EventSchema(Schema):
    """Something that happened. ``actor`` is null for the site itself and for who was not known."""

    id = fields.Integer()
    name = fields.String()
    happened_at = EpochSeconds()
    actor_id = fields.Integer(allow_none=True)
    actor = fields.Function(lambda event: event.actor or None)
    key_hash = fields.Function(lambda event: event.key_hash or None)
    ip = fields.Function(lambda event: event.ip or None)
    request_id = fields.Function(lambda event: event.request_id or None)
    target = fields.Function(lambda event: event.target or None)
    payload = fields.Dict()


class AuditQuery(PageQuery):
    """Which events are listed. ``since`` and ``until`` are seconds since 1970, and both are included."""

    name = fields.String(
        validate=[validate.Length(max=65), validate.Regexp(r"[a-z0-9_.-]*\*?\Z", error="Not a name.")]
    )
    actor = fields.String(validate=validate.Length(1, 32))
    target = fields.String(validate=validate.Length(1, 128))
    request_id = fields.String(validate=validate.Length(1, 64))
    since = QueryInteger(validate=validate.Range(0, LATEST))
    until = QueryInteger(validate=validate.Range(0, LATEST))
    after = QueryInteger(validate=validate.Range(1))

    @validates_schema
    def _one_way(self, data: dict[str, Any], **_: Any) -> None:
        if "after" in data and data["page"] != 1:
            raise ValidationError("Either a page, or what comes after an event.", "after")

    @post_load
    def _as_times(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        for key in {"since", "until"} & data.keys():
            data[key] = datetime.fromtimestamp(data[key], UTC)
        if "until" in data:
            data["until"] += timedelta(microseconds=999_999)  # times are shown in whole seconds
        return data
