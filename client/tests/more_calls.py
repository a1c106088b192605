"""Calls of the small site that only few tests need: keys, names of revisions, jobs."""

from dataclasses import dataclass, field


@dataclass
class State:
    """What these calls know, and knobs for what shall go wrong."""

    kind: str = "key"  # of the key that is used
    ended: bool = False  # by logging out
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


ROUTES = [
    ("GET", "/api_keys/current", get_current_key),
    ("POST", "/api/logout", post_logout),
    ("GET", "/api/me", get_me),
]
