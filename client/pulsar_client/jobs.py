"""Jobs of the site: what it works on in the background, for whoever may see it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulsar_client.errors import ConfigurationError, Conflict, ProtocolError
from pulsar_client.lazy import LazyModule

if TYPE_CHECKING:
    from pulsar_client import registry
    from pulsar_client.client import Client
    from pulsar_client.http import Http
else:
    registry = LazyModule("pulsar_client.registry")

STATES = ("queued", "running", "done", "failed", "cancelled")
PAGE_SIZES = (25, 50, 100)  # that the site has


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Times are seconds since the epoch."""

    id: int
    kind: str
    state: str
    progress: dict[str, Any]  # done, total (None: not known), unit
    attempts: int
    created: float
    started: float | None
    finished: float | None
    error: str | None
    result: Any
    owner: str | None  # None: the site itself


class Jobs:
    """The jobs that you may see."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, *, state: str | None = None, kind: str | None = None, limit: int = 100) -> list[Job]:
        """The newest ``limit`` jobs, the newest first."""
        if state is not None and state not in STATES:
            raise ConfigurationError(f"{state!r} is no state of a job: {', '.join(STATES)}.")
        query = {key: text for key, text in (("state", state), ("kind", kind)) if text}
        found: dict[int, Job] = {}
        size = next((size for size in PAGE_SIZES if size >= limit), PAGE_SIZES[-1])
        for page in range(1, -(-limit // size) + 1):
            part = _list(self._http, query | {"page": str(page), "limit": str(size)})
            # A job that came meanwhile moves the others on, to be seen twice.
            found |= {job.id: job for job in part if job.id not in found}
            if len(part) < size:
                break
        return list(found.values())[:limit]

    def get(self, job_id: int) -> Job:
        """:raises NotFound: if there is none that you may see."""
        return _parse(_open(self._http.get_json("GET", f"/jobs/{job_id:d}")))

    def cancel(self, job_id: int) -> Job:
        """Cancel a job. One that is worked on is still ``running`` until its worker hears of it.

        :raises Conflict: if it is finished.
        """
        try:
            return _parse(_open(self._http.get_json("DELETE", f"/jobs/{job_id:d}")))
        except Conflict as error:
            if error.repeated and (job := self.get(job_id)).state == "cancelled":
                return job  # By the first attempt.
            raise

    @property
    def _http(self) -> "Http":
        return self._client.registry.http


def _open(answer: object) -> object:
    return answer.get("response") if isinstance(answer, dict) else None


def _list(http: "Http", query: dict[str, str]) -> list[Job]:
    jobs = _open(http.get_json("GET", "/jobs", query=query))
    if not isinstance(jobs, list):
        raise ProtocolError("The site's answer has no list of jobs.")
    return [_parse(job) for job in jobs]


def _parse(job: object) -> Job:
    if not isinstance(job, dict):
        raise ProtocolError("The site's answer has no job.")
    good = (
        type(job.get("id")) is int
        and isinstance(job.get("kind"), str)
        and job.get("state") in STATES
        and isinstance(job.get("progress"), dict)
        and type(job.get("attempts")) is int
        and registry.is_time(job.get("created"))
        and all(job.get(key) is None or registry.is_time(job[key]) for key in ("started", "finished"))
        and all(job.get(key) is None or isinstance(job[key], str) for key in ("error", "owner"))
    )
    if not good:
        raise ProtocolError("The site describes a job in a way that cannot be read.")
    known: dict[str, Any] = {name: job.get(name) for name in Job.__slots__}
    return Job(**known)
