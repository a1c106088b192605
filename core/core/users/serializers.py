"""Users in JSON."""

from marshmallow import fields

from core.serializers import Attribute, Serializer

__all__ = ["UserSerializer"]


class UserSerializer(Serializer):
    """A user, as others and as he himself may see him."""

    id = Attribute(fields.Integer())
    username = Attribute(fields.String())
    enabled = Attribute(fields.Boolean())
    user_class = Attribute(fields.String(), attribute="user_class.name")
