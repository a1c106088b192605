"""Jobs as JSON."""

from marshmallow import Schema, fields, validate

from core.jobs.models import JobState
from core.serializers import EpochSeconds, PageQuery

__all__ = ["JobQuery", "JobSchema"]


class ProgressSchema(Schema):
    """How far a job is. ``total`` is null while it is not known."""

    done = fields.Integer()
    total = fields.Integer(allow_none=True)
    unit = fields.String(allow_none=True)


class JobSchema(Schema):
    """A job. Times are seconds since 1970; ``owner`` is a user name, null for work of the site itself."""

    id = fields.Integer()
    kind = fields.String()
    state = fields.Enum(JobState, by_value=True)
    progress = fields.Nested(ProgressSchema)
    attempts = fields.Integer()
    created = EpochSeconds(attribute="created_at")
    started = EpochSeconds(attribute="started_at", allow_none=True)
    finished = EpochSeconds(attribute="finished_at", allow_none=True)
    error = fields.String(allow_none=True)
    result = fields.Raw(allow_none=True)
    owner = fields.String(attribute="owner.username", dump_default=None, allow_none=True)


class JobQuery(PageQuery):
    """Which jobs are listed."""

    state = fields.Enum(JobState, by_value=True)
    kind = fields.String(validate=validate.Length(1, 64))
