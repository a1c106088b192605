"""JSON in and out: marshmallow schemas whose attributes know who may see them.

A serializer both checks input and builds output. An attribute that the caller may not see is there
with value ``null`` and is not computed, so the shape of an answer does not depend on who asks.
"""

import re
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Final

from flask import current_app
from marshmallow import Schema, ValidationError, fields, validate

from core.identity import Identity, current_identity
from core.site import current_site

__all__ = [
    "INT64",
    "QUERY_DIGITS",
    "Attribute",
    "EpochSeconds",
    "JSONBoolean",
    "JSONInteger",
    "PageQuery",
    "QueryBoolean",
    "QueryInteger",
    "Serializer",
]

INT64: Final = 2**63 - 1
QUERY_DIGITS: Final = 18  # of a number in a query, so that it is within 64 bits
QUERY_NUMBER: Final = re.compile(rf"-?[0-9]{{1,{QUERY_DIGITS}}}", re.ASCII)
MAX_DEPTH: Final = 5  # objects in objects; the rules of nesting keep every answer far above it


class JSONInteger(fields.Integer):
    """An integer as JSON means it: 3 and 3.0 pass; 3.5, true and "3" do not. Within 64 bits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise self.make_error("invalid", input=value)
        if not -INT64 <= value <= INT64:
            raise ValidationError("Out of range.")
        return int(value)


class JSONBoolean(fields.Boolean):
    """true or false; not 1, "true" or "yes"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class QueryInteger(fields.Integer):
    """A decimal number in a query string, at most 18 digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (isinstance(value, str) and QUERY_NUMBER.fullmatch(value)):
            raise self.make_error("invalid", input=value)
        return int(value)


class QueryBoolean(fields.Boolean):
    """A switch in a query string: 1, 0, true or false in any case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        known = {"1": True, "true": True, "0": False, "false": False}
        try:
            return known[str(value).lower()]
        except KeyError:
            raise self.make_error("invalid", input=value) from None


class EpochSeconds(fields.Field[datetime]):
    """A time as whole seconds since 1970, UTC."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> int | None:
        return None if value is None else int(value.timestamp())

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**36:
            raise ValidationError("Not a time in seconds since 1970.")
        return datetime.fromtimestamp(value, UTC)


class PageQuery(Schema):
    """Query of a list that is cut into pages."""

    page = QueryInteger(load_default=1, validate=validate.Range(1, 2**31 - 1))
    limit = QueryInteger(load_default=50, validate=validate.OneOf([25, 50, 100]))


class Attribute(fields.Field[Any]):
    """An attribute of a model in its JSON.

    A value that is another model, or a list of them, has the field ``fields.Nested(OtherSerializer)``, with
    ``many=True`` for a list, and is answered as its own serializer and the caller's rights have it.

    :param field: a marshmallow field that converts the value; by default it is taken as it is.
    :param permission: who may see it, and send it; None means whoever sees the object.
    :param self_access: whether the owner of the object sees it without ``permission``.
    :param nested: False hides it when the object is inside another one. Names, such as
        ``("id", "username")``, cut the value, which then has a ``fields.Nested``, down to these attributes.
    """

    def __init__(
        self,
        field: fields.Field[Any] | None = None,
        *,
        permission: str | None = None,
        self_access: bool = True,
        nested: bool | tuple[str, ...] = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inner = field
        self.permission = permission
        self.self_access = self_access
        self.nested = nested
        if not isinstance(nested, bool):
            if not isinstance(field, fields.Nested):
                raise TypeError("only a fields.Nested can be cut down to some attributes")
            field.only = nested

    def visible(self, obj: Any, identity: Identity, nested: bool) -> bool:
        """Whether ``identity`` sees this attribute of ``obj``."""
        if nested and not self.nested:
            return False
        if self.permission is None or identity.can(self.permission):
            return True
        return self.self_access and _belongs_to(obj, identity)

    def value_of(self, name: str, obj: Any) -> Any:
        """What marshmallow's ``serialize`` gives, without its search for keys and methods."""
        try:
            value = _getter(self.attribute or name)(obj)
        except AttributeError:
            return self.serialize(name, obj)
        return self._serialize(value, name, obj)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        if isinstance(value, set | frozenset):
            value = sorted(value)
        return value if self.inner is None else self.inner._serialize(value, attr, obj, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if self.permission is not None and not current_identity().can(self.permission):
            raise ValidationError("Unknown field.")
        return value if self.inner is None else self.inner.deserialize(value, attr, data, **kwargs)


# Made once for each path; the paths are written in the code, so they are few.
_getter = cache(attrgetter)


def _belongs_to(obj: Any, identity: Identity) -> bool:
    if not identity.authenticated:
        return False
    if hasattr(obj, "belongs_to"):
        return bool(obj.belongs_to(identity))
    return getattr(obj, "user_id", None) == identity.user_id


# How many objects are being serialized; what is met meanwhile lies inside of the last one.
_depth: ContextVar[int] = ContextVar("depth", default=0)


class Serializer(Schema):
    """The JSON form of one model. Plain marshmallow fields are visible to everyone."""

    _instances: ClassVar[dict[type, "Serializer"]] = {}

    @classmethod
    def assign_attrs(cls, **attributes: Attribute) -> None:
        """Add attributes to this serializer, and those derived from it, in the app that is being made.

        For ``modify()``; names should carry the plugin's prefix.

        :raises ValueError: if a name is taken.
        """
        site = current_site()
        site.assign(cls, attributes, lambda serializer, name: name in serializer._declared_fields)  # type: ignore[attr-defined]
        for name, attribute in attributes.items():
            attribute._bind_to_schema(name, cls._shared())
        site.dumpers.clear()

    @classmethod
    def _shared(cls) -> "Serializer":
        """One instance a class: making one costs more than using it."""
        if cls not in cls._instances:
            cls._instances[cls] = cls()
        return cls._instances[cls]

    @classmethod
    def all_fields(cls) -> dict[str, fields.Field[Any]]:
        """Every field of the present app's answers, with those that plugins added."""
        return {**cls._shared().dump_fields, **current_site().assigned(cls)}

    @classmethod
    def _items(cls) -> "Items":
        dumpers = current_site().dumpers
        if cls not in dumpers:
            dumpers[cls] = tuple(cls.all_fields().items())
        items: Items = dumpers[cls]
        return items

    @classmethod
    def serialize(cls, obj: Any, *, nested: bool = False) -> dict[str, Any] | None:
        """``obj`` as the present caller sees it; None if every attribute is hidden."""
        return _dump(obj, cls._items(), nested)

    @classmethod
    def serialize_many(cls, objects: Any) -> list[dict[str, Any] | None]:
        """Each of ``objects`` as the present caller sees it."""
        return [cls.serialize(obj) for obj in objects]

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """The same for an instance with ``only`` or ``many``, and for ``fields.Nested``."""
        # Attributes of plugins are not among those that somebody chose by name.
        items = tuple(self.dump_fields.items()) if self.only or self.exclude else self._items()
        if self.many if many is None else many:
            return [_dump(one, items, _depth.get() > 0) for one in obj]
        return _dump(obj, items, _depth.get() > 0)


Items = tuple[tuple[str, fields.Field[Any]], ...]


def _dump(obj: Any, attributes: Items, nested: bool) -> dict[str, Any] | None:
    identity = current_identity()
    answer: dict[str, Any] = {}
    seen = False
    depth = _depth.get()
    if depth >= MAX_DEPTH:
        if current_app.testing:
            raise RecursionError(f"objects lie in each other more than {MAX_DEPTH} deep")
        return None
    token = _depth.set(depth + 1)
    try:
        for name, field in attributes:
            if not isinstance(field, Attribute):
                seen, answer[name] = True, field.serialize(name, obj)
            elif field.visible(obj, identity, nested):
                seen, answer[name] = True, field.value_of(name, obj)
            else:
                answer[name] = None
    finally:
        _depth.reset(token)
    return answer if seen else None
