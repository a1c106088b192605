"""Calls of the small site that only few tests need: keys, names of revisions, jobs."""

import io
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote


@dataclass
class State:
    """What these calls know, and knobs for what shall go wrong."""

    kind: str = "key"  # of the key that is used
    ended: bool = False  # by logging out
    versions: dict = field(default_factory=dict)  # package -> {version: digest}
    jobs: list = field(default_factory=list)  # the oldest first
    breaks: str = ""  # before, within or after: where the connection breaks, once for every call
    broken: set = field(default_factory=set)  # the calls for which it did
    before: dict = field(default_factory=dict)  # "METHOD path" -> what to do before it is answered
    answers: dict = field(default_factory=dict)  # "METHOD path" -> (status, what) to answer instead


def get_current_key(handler, body, query):
    if handler.site.plain:
        handler.answer(404, b"<html>")
    else:
        handler.answer(200, {"status": "success", "response": {"key": {"kind": handler.site.more.kind}}})


def post_logout(handler, body, query):
    handler.site.more.ended = True
    handler.answer(200, {})


def get_me(handler, body, query):
    handler.answer(200, {"current_user": "demo"})


def get_tags(handler, package, body, query):
    tags = [
        {"tag": tag, "hash": digest} for (name, tag), digest in handler.site.tags.items() if name == package
    ]
    if package in handler.site.latest:
        tags.insert(0, {"tag": "latest", "hash": handler.site.latest[package]})
    handler.answer(200, {"tags": tags})


def delete_tag(handler, package, tag, body, query):
    if handler.site.tags.pop((package, unquote(tag)), None) is None:
        handler.answer(404, {"message": f"Package {package} tag '{tag}' does not exist", "code": "not_found"})
    else:
        finish(handler)


def get_versions(handler, package, body, query):
    versions = handler.site.more.versions.get(package, {})
    handler.answer(200, {"versions": [{"version": name, "hash": d} for name, d in versions.items()]})


def get_version(handler, package, version, body, query):
    if digest := handler.site.more.versions.get(package, {}).get(unquote(version)):
        handler.answer(200, {"hash": digest})
    else:
        handler.answer(404, {"message": f"Version {version} does not exist", "code": "not_found"})


def put_version(handler, package, version, body, query):
    versions = handler.site.more.versions.setdefault(package, {})
    if unquote(version) in versions:
        handler.answer(409, {"message": "Version already exists", "code": "conflict"})
    else:
        versions[unquote(version)] = json.loads(body)["hash"]
        finish(handler)


def delete_package(handler, package, body, query):
    if handler.site.access.pop(package, None) is None:
        handler.answer(404, {"message": f"Package {package} does not exist", "code": "not_found"})
    else:
        finish(handler)


def get_jobs(handler, body, query):
    args = dict(parse_qsl(query))
    page, limit = int(args.pop("page")), int(args.pop("limit"))
    assert limit in (25, 50, 100)
    jobs = [job for job in handler.site.more.jobs[::-1] if args.items() <= job.items()]
    handler.answer(200, {"status": "success", "response": jobs[(page - 1) * limit : page * limit]})


def find_job(handler, job_id):
    """None if there is none, which was answered."""
    for job in handler.site.more.jobs:
        if job["id"] == int(job_id):
            return job
    said = {"status": "failed", "response": f"Job {job_id} does not exist.", "error": {"code": "not_found"}}
    return handler.answer(404, said)


def get_job(handler, job_id, body, query):
    if job := find_job(handler, job_id):
        handler.answer(200, {"status": "success", "response": job})


def delete_job(handler, job_id, body, query):
    if not (job := find_job(handler, job_id)):
        return
    if job["finished"]:
        said = {"status": "failed", "response": "It is finished.", "error": {"code": "conflict"}}
        handler.answer(409, said)
        return
    if job["state"] == "queued":
        job |= {"state": "cancelled", "finished": 5.0}
    finish(handler, {"status": "success", "response": job})


def finish(handler, answer=None):
    """Answer, unless the answer shall be lost this once."""
    if handler.site.lose_answer:
        handler.site.lose_answer = False
        handler.close_connection = True
    else:
        handler.answer(200, answer or {})


def break_once(handler, route):
    """Answer, or break the connection: before anything is read, within the answer, or instead of it."""
    call, more = f"{handler.command} {handler.path.partition('?')[0]}", handler.site.more
    with handler.site.lock:
        breaks = more.breaks if call not in more.broken else ""
        more.broken.add(call)
    if not breaks:
        route()
        return
    handler.close_connection = True
    if breaks == "before":
        return
    wire, handler.wfile = handler.wfile, io.BytesIO()
    route()
    answer, handler.wfile = handler.wfile.getvalue(), wire
    handler.close_connection = True
    if breaks == "within":
        wire.write(answer[: len(answer) - 1])


P = r"(\w+/\w+)"
ROUTES = [
    ("GET", f"/api/tag/{P}/", get_tags),
    ("DELETE", f"/api/tag/{P}/(.+)", delete_tag),
    ("GET", f"/api/version/{P}/", get_versions),
    ("GET", f"/api/version/{P}/(.+)", get_version),
    ("PUT", f"/api/version/{P}/(.+)", put_version),
    ("DELETE", f"/api/package/{P}/", delete_package),
    ("GET", "/jobs", get_jobs),
    ("GET", "/jobs/([0-9]+)", get_job),
    ("DELETE", "/jobs/([0-9]+)", delete_job),
    ("GET", "/api_keys/current", get_current_key),
    ("POST", "/api/logout", post_logout),
    ("GET", "/api/me", get_me),
]
