"""Bodies and queries of the registry's calls."""

from typing import Any

from flask import current_app
from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validate, validates_schema

from core.serializers import INT64, QueryInteger
from registry.chain import dump
from registry.manifest import is_digest
from registry.names import is_tag

__all__ = [
    "AddressSchema",
    "AuditQuery",
    "CredentialsSchema",
    "DiffQuery",
    "DownloadQuery",
    "FetchSchema",
    "InstallQuery",
    "MetadataQuery",
    "MissingSchema",
    "NewPasswordSchema",
    "NewUserSchema",
    "PackQuery",
    "PackageListQuery",
    "PageQuery",
    "PushSchema",
    "RecentQuery",
    "RegistrationSchema",
    "RevisionReference",
    "RoleSchema",
    "SearchQuery",
    "TagQuery",
    "UserNameSchema",
]

MAX_DESCRIPTION = 10_240  # characters
MAX_CREDENTIAL = 4096  # characters of a name or password that is looked at at all
MAX_PAGE = 1_000_000
MAX_CHANGES = 5000  # on one page of a comparison
MAX_NODES = 1000  # on one page of metadata, with up to 16 KiB each
MAX_FOUND = 1000  # packages on one page of a search
MAX_QUESTION = 1024  # characters
MAX_RECENT = 100  # packages


class Switch(fields.Boolean):
    """``true`` or ``false``, not something that looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class DigestField(fields.String):
    """A SHA-256: 64 lower-case hex digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not is_digest(value):
            raise ValidationError("Not a SHA-256 in lower-case hex.")
        return str(value)


class Sizes(fields.Field[dict[str, int]]):
    """Bytes by SHA-256. One pass over plain Python: it may hold 100,000 of them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, int]:
        if not isinstance(value, dict):
            raise ValidationError("Not an object.")
        for digest, size in value.items():
            if not is_digest(digest):
                raise ValidationError("A key is not a SHA-256 in lower-case hex.")
            if type(size) is not int or not 0 <= size <= INT64:
                raise ValidationError(f"The size of {digest} is not a number of bytes.")
        return value


class Digests(fields.Field[list[str]]):
    """A list of SHA-256, each taken once."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        if not isinstance(value, list) or not all(map(is_digest, value)):
            raise ValidationError("Not a list of SHA-256 in lower-case hex.")
        return list(dict.fromkeys(value))


class Handle(fields.String):
    """``owner/name`` of a package, as a pair."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        owner, slash, name = value.partition("/") if isinstance(value, str) else ("", "", "")
        if not slash or not owner or not name or "/" in name:
            raise ValidationError("Not the handle of a package: owner/name.")
        return owner, name


class TagName(fields.String):
    """The name of a tag."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not is_tag(value):
            raise ValidationError("Not the name of a tag: 1 to 64 printable characters without a slash.")
        return value


class Provenance(fields.Field[dict[str, Any]]):
    """Where a revision comes from: any JSON object that is not large."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("Not an object.")
        size, most = len(dump(value)), current_app.config["REGISTRY_PROVENANCE_BYTES"]
        if size > most:
            raise ValidationError(f"{size} bytes of JSON are more than {most}.")
        return value


class PushSchema(Schema):
    """A revision that is to be pushed. ``public`` is an old name of ``is_public``."""

    dry_run = Switch(load_default=False)
    is_public = Switch(load_default=False)
    is_team = Switch(load_default=False)
    description = fields.String(required=True, validate=validate.Length(max=MAX_DESCRIPTION))
    contents = fields.Raw(required=True)
    sizes = Sizes(required=True)
    tag = TagName()
    expect = DigestField(allow_none=True)
    message = fields.String(validate=validate.Length(max=MAX_DESCRIPTION))
    provenance = Provenance()

    @validates_schema
    def _expects_a_tag(self, data: dict[str, Any], **_kwargs: Any) -> None:
        if "expect" in data and "tag" not in data:
            raise ValidationError("Without a tag there is nothing to expect.", "expect")

    @pre_load
    def _old_name(self, data: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        if "public" not in data:
            return data
        if "is_public" in data:
            raise ValidationError("Is the same as is_public.", "public")
        return {("is_public" if key == "public" else key): value for key, value in data.items()}


class InstallQuery(Schema):
    """What of a revision is asked for."""

    subpath = fields.String(load_default="")
    meta_only = fields.String(load_default="")

    @post_load
    def _as_switch(self, data: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        # Clients send "true" or nothing; servers before us took any text for yes.
        return {
            "path": data["subpath"].strip("/"),
            "meta_only": data["meta_only"].lower() not in ("", "false", "0"),
        }


class TagQuery(Schema):
    """What is to be said of a tag."""

    complete = fields.Boolean(load_default=False)


class DiffQuery(Schema):
    """Which page of the changes."""

    page = fields.Integer(load_default=1, validate=validate.Range(1, MAX_PAGE))
    limit = fields.Integer(load_default=1000, validate=validate.Range(1, MAX_CHANGES))


class MetadataQuery(Schema):
    """Which page of the nodes."""

    page = fields.Integer(load_default=1, validate=validate.Range(1, MAX_PAGE))
    limit = fields.Integer(load_default=MAX_NODES, validate=validate.Range(1, MAX_NODES))


class DownloadQuery(Schema):
    """Which fragment of a table."""

    fragment = fields.Integer(load_default=None, validate=validate.Range(0, INT64))


class PackageListQuery(Schema):
    """What is looked for, and which page of it."""

    q = fields.String(load_default="", validate=validate.Length(max=MAX_QUESTION))
    page = fields.Integer(load_default=1, validate=validate.Range(1, MAX_PAGE))


class PageQuery(Schema):
    """Which page of a group, and which page of the pushes."""

    page = fields.Integer(load_default=1, validate=validate.Range(1, MAX_PAGE))
    pushes = fields.Integer(load_default=1, validate=validate.Range(1, MAX_PAGE))


class RecentQuery(Schema):
    """How many packages are asked for."""

    count = fields.Integer(load_default=10, validate=validate.Range(1, MAX_RECENT))


class SearchQuery(Schema):
    """Words, and which page of what they find."""

    q = fields.String(load_default="", validate=validate.Length(max=MAX_QUESTION))
    page = fields.Integer(load_default=1, validate=validate.Range(1, MAX_PAGE))
    limit = fields.Integer(load_default=100, validate=validate.Range(1, MAX_FOUND))


class RevisionReference(Schema):
    """Which revision a tag or version is to name."""

    hash = DigestField(required=True)


class RoleSchema(Schema):
    """Whom a package is shared with, and how; ``role`` null takes the role away."""

    audience = fields.String(
        required=True, validate=validate.OneOf(["user", "class", "secondary_class", "team", "public"])
    )
    name = fields.String(load_default=None, allow_none=True, validate=validate.Length(min=1, max=64))
    role = fields.String(required=True, allow_none=True, validate=validate.OneOf(["read", "write", "manage"]))


class MissingSchema(Schema):
    """Objects that the caller has, with their sizes."""

    objects = Sizes(required=True)
    package = Handle()
    added_bytes = fields.Integer(load_default=0, strict=True, validate=validate.Range(0, INT64))


class PackQuery(Schema):
    """What a pack is for."""

    package = Handle()


class HeadsQuery(PackQuery):
    """And how many bytes were asked about before."""

    added_bytes = fields.Integer(load_default=0, validate=validate.Range(0, INT64))


class FetchSchema(Schema):
    """Objects that the caller wants."""

    objects = Digests(required=True)


class CredentialsSchema(Schema):
    """A name and its password."""

    username = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))
    password = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))


class AuditQuery(Schema):
    """How many events, and of which event only predecessors."""

    limit = QueryInteger(load_default=1000, validate=validate.Range(1, 10_000))
    before = QueryInteger(load_default=None, validate=validate.Range(1))


class RegistrationSchema(CredentialsSchema):
    """A new account; with ``code``, an invite, where the site asks for one."""

    email = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))
    code = fields.String(load_default=None, validate=validate.Length(max=64))


class AddressSchema(Schema):
    """An e-mail address."""

    email = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))


class NewPasswordSchema(Schema):
    """A link that was mailed, or the last part of it, and the password that is to be set."""

    link = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))
    password = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))


class UserNameSchema(Schema):
    """Whose account."""

    username = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))


class NewUserSchema(UserNameSchema):
    """An account that an administrator makes for somebody."""

    email = fields.String(required=True, validate=validate.Length(max=MAX_CREDENTIAL))
