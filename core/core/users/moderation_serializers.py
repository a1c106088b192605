"""JSON of classes and permissions, and of changes to accounts."""

from marshmallow import Schema, ValidationError, fields, validate

from core.permissions import CorePermissions as P
from core.serializers import INT64, Attribute, JSONBoolean, JSONInteger, QueryBoolean, Serializer

__all__ = [
    "ChangeClass",
    "CreateClass",
    "DescribedPermission",
    "ExplainQuery",
    "Explanation",
    "PermissionsQuery",
    "SecondaryQuery",
    "UserChanges",
    "UserClassSerializer",
]

INT32 = 2**31 - 1
PERMISSIONS_MAX = 1000  # names in one request; a site has some dozens
CLASSES_MAX = 100  # secondary classes of one user
NAME_MAX = 24  # characters, in lower case too: some letters grow
LONGEST = 4096  # characters of a password that is looked at at all


def _is_class_name(name: str) -> None:
    if not name.strip() or name != name.strip():
        raise ValidationError("A name neither begins nor ends with a blank.")
    if len(name) <= NAME_MAX < len(name.lower()):
        raise ValidationError(f"Longer than maximum length {NAME_MAX} in lower case.")


def _changes(*, required: bool = False) -> fields.Dict:
    """Permissions by name: true gives one, false takes it away."""
    return fields.Dict(
        required=required,
        keys=fields.String(validate=validate.Length(1, 64)),
        values=JSONBoolean(),
        validate=validate.Length(max=PERMISSIONS_MAX),
    )


class UserChanges(Schema):
    """What is to be changed of an account. Zero is a value; what is not there stays as it is."""

    email = fields.String(validate=validate.Length(1, 255))
    password = fields.String(validate=validate.Length(max=LONGEST))
    uploaded = JSONInteger(validate=validate.Range(0, INT64))
    downloaded = JSONInteger(validate=validate.Range(0, INT64))
    invites = JSONInteger(validate=validate.Range(0, INT32))
    permissions = _changes()
    locked = JSONBoolean()
    enabled = JSONBoolean()
    user_class_id = JSONInteger(validate=validate.Range(1, INT64))
    secondary_class_ids = fields.List(
        JSONInteger(validate=validate.Range(1, INT64)), validate=validate.Length(max=CLASSES_MAX)
    )


class UserClassSerializer(Serializer):
    """A class of users, of either kind."""

    id = Attribute(fields.Integer())
    name = Attribute(fields.String())
    permissions = Attribute(
        fields.List(fields.String()), permission=P.USERCLASSES_MODIFY, attribute="permission_names"
    )


class CreateClass(Schema):
    """A new class. ``secondary`` says of which kind."""

    name = fields.String(required=True, validate=[validate.Length(1, NAME_MAX), _is_class_name])
    permissions = fields.List(
        fields.String(validate=validate.Length(1, 64)),
        required=True,
        validate=validate.Length(max=PERMISSIONS_MAX),
    )
    secondary = JSONBoolean(load_default=False)


class ChangeClass(Schema):
    """Permissions that a class gets or loses."""

    permissions = _changes(required=True)
    secondary = JSONBoolean(load_default=False)


class SecondaryQuery(Schema):
    """Which kind of class is meant."""

    secondary = QueryBoolean(load_default=False)


class PermissionsQuery(Schema):
    """How much is told of each permission."""

    detail = QueryBoolean(load_default=False)


class DescribedPermission(Schema):
    """A permission, or with ``family`` all whose names match the regular expression ``name``."""

    name = fields.String()
    plugin = fields.String()
    description = fields.String()
    for_users = fields.Boolean()
    basic = fields.Boolean()
    family = fields.Boolean()


class ExplainQuery(Schema):
    """Who would do what, with which key, and with what."""

    user = fields.String(required=True, validate=validate.Length(1, 32))
    permission = fields.String(required=True, validate=validate.Length(1, 64))
    key = fields.String(validate=validate.Length(1, 64))
    object = fields.String(
        data_key="object",
        attribute="thing",
        validate=[
            validate.Length(max=83),
            validate.Regexp(r"[a-z0-9_]{1,64}:[0-9]{1,18}\Z", error="Not of the form kind:id."),
        ],
    )
    level = fields.String(load_default="read", validate=validate.OneOf(["read", "write", "manage"]))


class Step(Schema):
    """One thing that was looked at, and what it did."""

    step = fields.String()
    effect = fields.String(validate=validate.OneOf(["gives", "takes", "nothing"]))
    sentence = fields.String()


class Explanation(Schema):
    """Whether, and why."""

    user = fields.String()
    permission = fields.String()
    allowed = fields.Boolean()
    sentence = fields.String()
    steps = fields.List(fields.Nested(Step))
