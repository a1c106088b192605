"""Notifications in JSON; what their calls take."""

from marshmallow import Schema, fields

from core.serializers import Attribute, EpochSeconds, JSONBoolean, PageQuery, QueryBoolean, Serializer
from core.users.serializers import UserIdField

__all__ = [
    "ListQuery",
    "NotificationSerializer",
    "OverviewQuery",
    "ReadSchema",
]


class NotificationSerializer(Serializer):
    """One thing that a user was told. ``contents`` is whatever the plugin said."""

    id = Attribute(fields.Integer())
    user_id = Attribute(fields.Integer())
    type = Attribute(fields.String(), attribute="type.name")
    time = Attribute(EpochSeconds(), attribute="sent_at")
    contents = Attribute(fields.Raw())
    read = Attribute(fields.Boolean())


class OverviewQuery(Schema):
    """Whose notifications."""

    user_id = UserIdField(load_default=None)


class ListQuery(PageQuery):
    """Which notifications of a type are listed."""

    include_read = QueryBoolean(load_default=False)
    user_id = UserIdField(load_default=None)


class ReadSchema(Schema):
    """Whether it was read."""

    read = JSONBoolean(required=True)
