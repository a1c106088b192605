"""Log lines: one a request, each with the request's id, as text or JSON."""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from flask import Flask, Request, Response, g, has_request_context

__all__ = ["init_app", "log_request"]

access = logging.getLogger("pulsar.access")
_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_ENCODER: Final = json.JSONEncoder(default=str)


class Formatter(logging.Formatter):
    """A line of text, or a JSON object; ``extra`` fields of the record become ``key=value`` or members.

    A record may bring them together as ``fields``, with the request's id, which spares the search for them.
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
        message = record.getMessage()
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        if fields is None:
            fields = _fields_of(record)
        exception = self.formatException(record.exc_info) if record.exc_info else None
        if self.form == "text":
            return self._text(record, message, fields, exception)
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            **fields,
        }
        return _ENCODER.encode(line | {"exception": exception} if exception else line)

    def _text(
        self, record: logging.LogRecord, message: str, fields: Mapping[str, Any], exception: str | None
    ) -> str:
        # Log lines are read line by line: whatever a caller sent must not be able to begin a new one.
        if not message.isprintable():
            message = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
        said = "".join([f" {key}={value!r}" for key, value in fields.items()])
        line = f"{self.formatTime(record)} {record.levelname:7} {record.name}: {message}{said}"
        return f"{line}\n{exception}" if exception else line


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The request's id, if there is a request, and what was given as ``extra``."""
    found = {"request_id": g.get("request_id")} if has_request_context() else {}
    return found | {key: value for key, value in record.__dict__.items() if key not in _OWN}


def init_app(app: Flask) -> None:
    """Set up the ``pulsar``, ``core`` and plugin loggers of this process, once."""
    root = logging.getLogger()
    if not root.handlers and not app.testing:
        handler = logging.StreamHandler()
        handler.setFormatter(Formatter(app.config["LOG_FORMAT"]))
        root.addHandler(handler)
        root.setLevel(app.config["LOG_LEVEL"])
        # No line of ours names a thread; to look for it costs as much as to make the line. Lines of gunicorn
        # and others have the number of the process.
        logging.logThreads = logging.logMultiprocessing = False


def log_request(request: Request, response: Response, state: Any) -> None:
    """One line for a finished request. Queries and headers stay out: they may hold secrets."""
    if not access.isEnabledFor(logging.INFO):
        return
    fields = {
        "request_id": state.request_id,
        "user": state.identity.username,
        "ms": round((time.perf_counter() - state.started) * 1000, 1),
        "address": request.remote_addr,
    }
    said = (request.method, request.path, response.status_code)
    # Not access.info(): it searches the stack for its caller, which is always this line.
    record = logging.LogRecord(access.name, logging.INFO, __file__, 0, "%s %s %d", said, None)
    record.fields = fields
    access.handle(record)
