"""Users, their keys and their invites in JSON; what their calls take."""

from functools import partial
from typing import Any, Final

from flask import current_app
from marshmallow import Schema, ValidationError, fields, validate

from core.db import now
from core.errors import ValidationFailed
from core.permissions import CorePermissions as P
from core.rights import is_basic, locked_permissions
from core.serializers import (
    Attribute,
    EpochSeconds,
    JSONBoolean,
    JSONInteger,
    PageQuery,
    QueryBoolean,
    QueryInteger,
    Serializer,
)
from core.site import current_site
from core.users.models import Invite, User

__all__ = [
    "ApiKeyQuery",
    "ApiKeySerializer",
    "Credentials",
    "InviteQuery",
    "InviteSerializer",
    "LoginQuery",
    "NewApiKey",
    "NewInviteSchema",
    "OwnerQuery",
    "RegistrationSchema",
    "RevokeQuery",
    "SessionSerializer",
    "SettingsBody",
    "UserIdField",
    "UserQuery",
    "UserSerializer",
]

LONGEST: Final = 4096  # characters of a name or password that is looked at at all


class HeldPermissions(fields.List[Any]):
    """What a user may do, the account being locked or not.

    :param basic: only those that ``users_moderate`` is enough to give and take away.
    """

    def __init__(self, *, basic: bool = False) -> None:
        super().__init__(fields.String())
        self.basic = basic

    def _serialize(self, value: Any, attr: str | None, obj: User, **kwargs: Any) -> list[str]:
        known = current_site().permissions  # what no enabled plugin declares gives nothing
        held = locked_permissions() if obj.locked else value
        return sorted(name for name in held if name in known and (not self.basic or is_basic(name)))


class UserIdField(QueryInteger):
    """Whose things are asked for, in a query."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError:
            words = "User ID must be an integer."
            raise ValidationFailed(words, details={attr or "user_id": [words]}) from None


_of_key = partial(Attribute, permission=P.API_KEYS_VIEW_OTHERS)


class ApiKeySerializer(Serializer):
    """An API key or a session. The digest of its secret never leaves."""

    hash = _of_key(fields.String())
    user_id = _of_key(fields.Integer())
    last_used = _of_key(EpochSeconds(), attribute="last_used_at")
    ip = _of_key(fields.String())
    user_agent = _of_key(fields.String())
    revoked = _of_key(fields.Boolean())
    permanent = _of_key(fields.Boolean())
    timeout = _of_key(fields.Integer())
    permissions = _of_key(fields.List(fields.String()))
    name = _of_key(fields.String())
    created = _of_key(EpochSeconds(), attribute="created_at")
    kind = _of_key(fields.String())


_private = partial(Attribute, permission=P.USERS_MODERATE)
_of_others = partial(_private, self_access=False, nested=False)


class UserSerializer(Serializer):
    """A user, as others and as he himself may see him."""

    id = Attribute(fields.Integer())
    username = Attribute(fields.String())
    enabled = Attribute(fields.Boolean())
    user_class = Attribute(fields.String(), attribute="user_class.name")
    secondary_classes = Attribute(fields.List(fields.String()), attribute="secondary_class_names")
    uploaded = Attribute(fields.Integer())
    downloaded = Attribute(fields.Integer())
    email = _private(fields.String())
    locked = _private(fields.Boolean())
    invites = _private(fields.Integer())
    inviter = _of_others(fields.Nested(lambda: UserSerializer))
    api_keys = _private(fields.Nested(ApiKeySerializer, many=True), nested=False)
    basic_permissions = _of_others(HeldPermissions(basic=True), attribute="granted", dump_only=True)
    permissions = Attribute(
        HeldPermissions(),
        attribute="granted",
        permission=P.USERS_MODERATE_ADVANCED,
        nested=False,
        dump_only=True,
    )


class UserQuery(PageQuery):
    """Which users are listed: those with ``search`` in their names, in any case."""

    search = fields.String(load_default="", validate=validate.Length(max=64))


class RegistrationSchema(Schema):
    """Who wants to register."""

    username = fields.String(required=True, validate=validate.Length(1, 32))
    password = fields.String(required=True, validate=validate.Length(max=LONGEST))
    email = fields.String(required=True, validate=validate.Length(1, 255))
    # Of any type here: what is wrong with a code is said in words of its own, after all the rest.
    code = fields.Raw(
        load_default=None,
        allow_none=True,
        metadata={"type": "string", "minLength": 24, "maxLength": 24},
    )


class Dead(fields.Boolean):
    """Whether an invite was used or revoked, or is too old."""

    def _serialize(self, value: Any, attr: str | None, obj: Invite, **kwargs: Any) -> bool:
        age = (now() - obj.sent_at).total_seconds()
        return bool(value) or age > current_app.config["INVITE_LIFETIME"]


_of_invite = partial(Attribute, permission=P.INVITES_VIEW_OTHERS)


class InviteSerializer(Serializer):
    """An invite, as its sender and as others may see it."""

    code = _of_invite(fields.String())
    email = _of_invite(fields.String())
    time_sent = _of_invite(EpochSeconds(), attribute="sent_at")
    expired = _of_invite(Dead())
    invitee = _of_invite(fields.Nested(UserSerializer))
    from_ip = _of_invite(fields.String(), self_access=False)
    inviter = _of_invite(fields.Nested(UserSerializer), self_access=False, nested=False)


class InviteQuery(PageQuery):
    """Which invites are listed."""

    used = QueryBoolean(load_default=False)
    include_dead = QueryBoolean(load_default=False)
    user_id = UserIdField(load_default=None)


class NewInviteSchema(Schema):
    """Whom an invite is for."""

    email = fields.String(required=True, validate=validate.Length(1, 255))


class SessionSerializer(Schema):
    """A session, and what an unsafe request by its cookie has to send along."""

    hash = fields.String()
    username = fields.String()
    csrf_token = fields.String()


class OwnerQuery(Schema):
    """Whose things; the caller's own by default."""

    user_id = UserIdField()


class ApiKeyQuery(OwnerQuery, PageQuery):
    """Which keys."""

    include_dead = QueryBoolean(load_default=True)


class RevokeQuery(OwnerQuery):
    """Whose keys, and whether the one that asks stays."""

    keep_current = QueryBoolean(load_default=False)


class LoginQuery(Schema):
    """Where to go after signing in."""

    next = fields.String(load_default="", validate=validate.Length(max=LONGEST))


class Credentials(Schema):
    """A name and its password."""

    username = fields.String(validate=validate.Length(max=LONGEST))
    password = fields.String(validate=validate.Length(max=LONGEST))


class NewApiKey(Credentials):
    """What an API key shall be. With name and password it is for that user."""

    permanent = JSONBoolean(load_default=False)
    timeout = JSONInteger(load_default=1800, validate=validate.Range(60, 31_536_000))
    permissions = fields.List(
        fields.String(validate=validate.Length(1, 64)), load_default=list, validate=validate.Length(max=1000)
    )
    name = fields.String(load_default="", validate=validate.Length(max=64))


class SettingsBody(Schema):
    """Settings of a user."""

    existing_password = fields.String(validate=validate.Length(max=LONGEST))
    new_password = fields.String(validate=validate.Length(max=LONGEST))
