"""How the cart words its errors: ``{"status": "400 Bad Request", "message", "traceback": ""}``.

The members are those of the original service, whose clients may look for them. There is never a traceback.
"""

from http import HTTPStatus
from typing import Any

from flask import Response, request

from cart.document import BadDocument
from cart.wording import one_line
from core.errors import BadRequest, PulsarError
from core.responses import json_response

__all__ = ["BadCart", "CartFailed", "format_error", "state_headers"]


class BadCart(BadRequest):
    """The document cannot be used."""

    code = "bad_cart"

    def __init__(self, problem: BadDocument) -> None:
        super().__init__(str(problem), details={"errors": problem.problems})


class CartFailed(PulsarError):
    """The cart could not be made ready."""

    code = "cart_failed"


def state_headers(state: str, message: str = "") -> dict[str, str]:
    """The two headers that every answer about a state has; clients read both without looking first."""
    return {"X-Pacifica-Status": state, "X-Pacifica-Message": one_line(message)}


def format_error(error: PulsarError) -> Response:
    """The body of every error under the cart's paths."""
    phrase = HTTPStatus(error.status).phrase
    body: dict[str, Any] = {
        "status": f"{int(error.status)} {phrase}",
        "message": error.message,
        "traceback": "",
        "code": error.code,
    }
    if error.details and "errors" in error.details:
        body["errors"] = error.details["errors"]
    headers = state_headers("error", error.message) if request.method == "HEAD" else None
    return json_response(body, error.status, headers)
