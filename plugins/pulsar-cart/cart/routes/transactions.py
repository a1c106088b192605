"""``/cart/status/transactions/by_id/<number>``: the files of a number, as Pacifica's policy service."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final, cast

from flask import Response, current_app

from cart.permissions import CartPermissions as P
from cart.routes.callers import caller
from cart.sources import NumberedSource, find_source
from core.blueprint import Blueprint
from core.errors import NotFound
from core.requests import public, returns

__all__ = ["bp"]

NUMBER: Final = re.compile(
    r"[1-9][0-9]{0,17}", re.ASCII
)  # what a column of integers can hold, on any database
MANY: Final = 500  # files that are sent at a time

bp = Blueprint("transactions", __name__)


@bp.get("/status/transactions/by_id/<number>")
@public
@returns(200, {"type": "object"}, "`files`: by its id, each with `subdir`, `name`, `hashtype` and `hashsum`.")
@returns(404, {"type": "object"}, "There is none, or the default source knows no numbers.")
def get_transaction(number: str) -> Response:
    """The files of a number, of which `pacifica-cli download --transaction-id` makes a cart.

    Numbers are those of the default source. Where that is `registry` they stand for revisions, and are in
    the log of a package.
    """
    identity = caller(P.CREATE)
    source = find_source(current_app.config["CART_DEFAULT_SOURCE"])
    files = None
    if NUMBER.fullmatch(number) and hasattr(source, "transaction"):
        files = cast(NumberedSource, source).transaction(int(number), identity)
    if files is None:
        raise NotFound("There is no transaction of this number.")
    return Response(_iter_json(files), mimetype="application/json")


def _iter_json(files: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    members = map(_member, files)
    yield '{"files": {' + next(members, "")
    while some := list(islice(members, MANY)):
        yield "".join(chain.from_iterable((", ", member) for member in some))
    yield "}}"


def _member(file: Mapping[str, Any]) -> str:
    folder, _, name = file["path"].rpartition("/")
    told = {"subdir": folder, "name": name, "hashtype": file["hashtype"], "hashsum": file["hashsum"]}
    return f"{json.dumps(file['id'])}: {json.dumps(told)}"
