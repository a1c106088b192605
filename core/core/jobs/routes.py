"""``/jobs``: what is being done, how far it is, and its cancellation."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.identity import current_identity
from core.jobs import services
from core.jobs.serializers import JobQuery, JobSchema
from core.requests import login_required, query, returns
from core.responses import add_page_headers, json_response

__all__ = ["bp"]

bp = Blueprint("jobs", __name__, url_prefix="/jobs")


@bp.get("")
@login_required
@query(JobQuery())
@returns(200, JobSchema(many=True))
def list_jobs(args: dict[str, Any]) -> Response:
    """Your jobs, newest first; with ``jobs_view_others`` everybody's."""
    jobs, total = services.list_jobs(current_identity(), **args)
    answer = json_response(JobSchema(many=True).dump(jobs))
    return add_page_headers(answer, total=total, page=args["page"], limit=args["limit"])


@bp.get("/<int:job_id>")
@login_required
@returns(200, JobSchema())
def get_job(job_id: int) -> Response:
    """One job."""
    return json_response(JobSchema().dump(services.get_job(current_identity(), job_id)))


@bp.delete("/<int:job_id>")
@login_required
@returns(200, JobSchema())
@returns(409, None, "The job is already finished.")
def cancel_job(job_id: int) -> Response:
    """Cancel a job. One that is being worked on is still ``running`` until its worker hears of it."""
    return json_response(JobSchema().dump(services.cancel_job(current_identity(), job_id)))
