"""Log lines: one a request, each with the request's id, as text or JSON."""

import json
import logging
import time
from typing import Any, Final

from flask import Flask, Response, g, has_request_context
from flask.globals import app_ctx, request_ctx

__all__ = ["init_app", "log_request"]

access = logging.getLogger("pulsar.access")
_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Formatter(logging.Formatter):
    """A line of text, or a JSON object; ``extra`` fields of the record become ``key=value`` or members.

    A record may bring them together as ``fields``, which spares the search for them.
    """

    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self._second = (0, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The time in UTC; the part down to seconds is made once a second."""
        second = int(record.created)
        if second != self._second[0]:
            self._second = (second, time.strftime(self.default_time_format, time.gmtime(second)))
        return f"{self._second[1]}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context():
            line["request_id"] = g.get("request_id")
        own: dict[str, Any] | None = getattr(record, "fields", None)
        line |= own or {key: value for key, value in record.__dict__.items() if key not in _OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str) if self.form == "json" else self._text(line)

    def _text(self, line: dict[str, Any]) -> str:
        head = f"{line.pop('time')} {line.pop('level'):7} {line.pop('logger')}: "
        # Log lines are read line by line: whatever a caller sent must not be able to begin a new one.
        message = str(line.pop("message"))
        if not message.isprintable():
            message = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
        exception = line.pop("exception", None)
        fields = "".join(f" {key}={value!r}" for key, value in line.items())
        return head + message + fields + (f"\n{exception}" if exception else "")


def init_app(app: Flask) -> None:
    """Set up the ``pulsar``, ``core`` and plugin loggers of this process, once."""
    root = logging.getLogger()
    if not root.handlers and not app.testing:
        handler = logging.StreamHandler()
        handler.setFormatter(Formatter(app.config["LOG_FORMAT"]))
        root.addHandler(handler)
        root.setLevel(app.config["LOG_LEVEL"])


def log_request(response: Response) -> None:
    """One line for a finished request. Queries and headers stay out: they may hold secrets."""
    if not access.isEnabledFor(logging.INFO):
        return
    asked, state = request_ctx.request, app_ctx.g
    fields = {
        "user": state.identity.username,
        "ms": round((time.perf_counter() - state.started) * 1000, 1),
        "address": asked.remote_addr,
    }
    said = (asked.method, asked.path, response.status_code)
    # Not access.info(): it searches the stack for its caller, which is always this line.
    access.handle(
        access.makeRecord(
            access.name, logging.INFO, __file__, 0, "%s %s %d", said, None, extra={"fields": fields}
        )
    )
