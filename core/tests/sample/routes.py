"""Routes that do what a plugin might do, mistakes included."""

import builtins

from flask import Response, redirect
from marshmallow import Schema, fields
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from core.blueprint import Blueprint
from core.db import after_commit, db
from core.events import emit
from core.requests import body, login_required, public, query, require_permission, returns
from core.responses import json_response
from core.serializers import JSONInteger, PageQuery, QueryBoolean
from sample.events import SampleEvents
from sample.models import Counter
from sample.serializers import Box, BoxSerializer

bp = Blueprint("sample", __name__, auth_schemes=("token", "bearer", "basic"))
DONE: list[object] = []


class Thing(Schema):
    name = fields.String(required=True)
    size = JSONInteger()
    more = fields.Raw()


class Happening(Schema):
    payload = fields.Dict(load_default=dict)
    fails = fields.Boolean(load_default=False)


class Search(PageQuery):
    deep = QueryBoolean()
    tags = fields.List(fields.String())


@bp.post("/things")
@public
@body(Thing())
def post_thing(data):
    return json_response(data, 201)


@bp.get("/things")
@public
@query(Search())
def get_things(args):
    return json_response(args)


@bp.get("/boxes/<int:depth>")
@login_required
@returns(200, BoxSerializer())
def get_boxes(depth):
    """Boxes that lie in each other, so many; every second one belongs to user 1."""
    box = None
    for number in range(depth, 0, -1):
        box = Box(number, 1 + number % 2, inside=box)
    box.boxes = [Box(100, 1), Box(101, 2)]
    return json_response(BoxSerializer.serialize(box))


@bp.post("/boxes")
@login_required
@body(BoxSerializer(only=("label", "note")))
def post_box(data):
    return json_response(data)


@bp.get("/hidden")
@require_permission("sample_look", masquerade=True)
def get_hidden():
    return json_response("seen")


@bp.get("/look")
@require_permission("sample_look")
def get_look():
    return json_response("seen")


@bp.get("/answers/<kind>")
@bp.get("/replies/<kind>")
@public
def get_answer(kind):
    return {
        "text": lambda: Response("{}", mimetype="text/plain"),
        "empty": lambda: ("", 204),
        "json204": lambda: json_response(None, 204),
        "unchanged": lambda: ("", 304),
        "elsewhere": lambda: redirect("/health"),
        "stream": lambda: Response((piece for piece in ("[1,", "2]")), mimetype="application/json"),
        "string": lambda: json_response("ä"),
        "none": lambda: json_response(None),
        "byhand": lambda: (json_response({"odd": 1}), 409),
        "cached": lambda: json_response(1, headers={"Cache-Control": "max-age=5"}),
    }[kind]()


@bp.get("/raise/<name>")
@public
def get_raise(name):
    if name == "huge":
        db.session.add(Counter(value=2**70))
        db.session.flush()
    raise getattr(builtins, name)("a secret detail")


@bp.post("/count/<int:number>/<how>")
@public
def count(number, how):
    counter = db.session.get(Counter, number)
    if how == "atomic":
        db.session.execute(update(Counter).where(Counter.id == number).values(value=Counter.value + 1))
    elif how == "locked":
        db.session.scalar(
            select(Counter)
            .where(Counter.id == number)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).value += 1
    elif how == "fail":
        counter.value += 1
        db.session.flush()
        after_commit(lambda: DONE.append("fail"))
        raise RuntimeError
    elif how == "twice":
        db.session.add(Counter(id=number, value=0))
        after_commit(lambda: DONE.append("twice"))
    elif how == "check":
        counter.value = -1
    elif how == "tasks":
        db.session.expunge(counter)
        after_commit(lambda: DONE.append("outer"))
        try:
            with db.session.begin_nested():
                after_commit(lambda: DONE.append("savepoint"))
                with db.session.begin_nested():
                    after_commit(lambda: DONE.append("inner"))
                db.session.add(Counter(id=number, value=0))
        except IntegrityError:
            pass
        after_commit(lambda: 1 / 0)
        after_commit(lambda: DONE.append("after"))
        assert not DONE
    return json_response("counted")


@bp.post("/happen")
@login_required
@body(Happening())
def happen(data):
    emit(SampleEvents.HAPPENED, target="thing:1", **data["payload"])
    if data["fails"]:
        db.session.flush()
        raise RuntimeError
    return json_response("happened", 201)
