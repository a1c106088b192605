"""Why somebody may do something, or may not: the same questions as on a request, asked aloud."""

from typing import Any, Final, Literal

from sqlalchemy import select

from core.db import Base, db, now
from core.errors import NotFound, ValidationFailed
from core.identity import Identity, identity_of
from core.permissions import GOD_MODE
from core.rights import Rights, rights_of
from core.sharing import Audience, Grant, Level, can, reaching
from core.site import current_site
from core.users.models import ApiKey, User
from core.users.services.accounts import find_user, get_user
from core.users.services.permissions import is_known

__all__ = ["explain"]

Effect = Literal["gives", "takes", "nothing"]
WHOM: Final = {
    Audience.USER: "the user",
    Audience.USER_CLASS: "the class of the user",
    Audience.SECONDARY_CLASS: "a secondary class of the user",
    Audience.LOGGED_IN: "everyone with an account",
    Audience.PUBLIC: "the public",
}


def explain(
    user: str, permission: str, *, key: str = "", thing: str = "", level: str = "read"
) -> dict[str, Any]:
    """Whether a user may do something, and why.

    :param user: id or name; digits are an id.
    :param key: hash of one of the user's keys, through which it would be done.
    :param thing: what it would be done with, as ``kind:id``; a kind is the name of a table.
    :param level: what the sharing of ``thing`` has to allow: ``read``, ``write`` or ``manage``.
    :returns: ``allowed``, a sentence that says why, and the steps that led there. Each step has its name,
        whether it ``gives``, ``takes`` or does ``nothing``, and a sentence.
    :raises NotFound: if there is no such user or key.
    :raises ValidationFailed: if nothing of that kind can be shared.
    """
    account = _find(user)
    stored = _find_key(account, key) if key else None
    identity = identity_of(
        account, scope=stored.permissions if stored else (), key_hash=stored.hash if stored else None
    )
    steps = [
        _declared(permission),
        *_given(account, rights_of(account), permission),
        _god_mode(identity),
        *_account(account, identity, permission),
    ]
    if stored:
        steps += _key(stored, identity, permission)
    allowed = identity.can(permission) and account.enabled and (stored is None or _alive(stored))
    if thing:
        reached, step = _shared(thing, Level[level.upper()], identity)
        allowed &= reached
        steps.append(step)
    return {
        "user": account.username,
        "permission": permission,
        "allowed": allowed,
        "sentence": f"{account.username} {'may' if allowed else 'may not'}: {_reason(steps, allowed)}",
        "steps": steps,
    }


def _find(user: str) -> User:
    found = get_user(int(user)) if user.isdecimal() and user.isascii() else find_user(user)
    if found is None:
        raise NotFound.of("User", user)
    return found


def _find_key(user: User, key: str) -> ApiKey:
    found = db.session.get(ApiKey, key)
    if found is None or found.user_id != user.id:
        raise NotFound.of("APIKey", key)
    return found


def _alive(key: ApiKey) -> bool:
    unused = (now() - key.last_used_at).total_seconds()
    return not key.revoked and (key.permanent or unused <= key.timeout)


def _step(name: str, effect: Effect, sentence: str) -> dict[str, str]:
    return {"step": name, "effect": effect, "sentence": sentence}


def _reason(steps: list[dict[str, str]], allowed: bool) -> str:
    """The last step that decided: each one takes away, or gives, over those before it."""
    effect = "gives" if allowed else "takes"
    found = [step for step in steps if step["effect"] == effect]
    if not found:
        return "nothing gives the permission."
    both = found[-2:] if allowed and found[-1]["step"] == "object" else found[-1:]
    return " ".join(step["sentence"] for step in both)


def _declared(permission: str) -> dict[str, str]:
    if is_known(permission):
        return _step("permission", "nothing", "an enabled plugin declares the permission.")
    return _step("permission", "takes", "no enabled plugin declares the permission, so nobody gets it.")


def _given(user: User, rights: Rights, permission: str) -> list[dict[str, str]]:
    """What the classes say, and what is said of the user alone."""
    sources = [("class", user.user_class.name, rights.by_class)]
    sources += [
        ("secondary_class", found.name, rights.by_secondary_class[found.id])
        for found in user.secondary_classes
    ]
    known = is_known(permission)
    steps = []
    for step, name, names in sources:
        kind = "class" if step == "class" else "secondary class"
        gives = permission in names and known
        effect: Effect = "gives" if gives else "nothing"
        steps.append(
            _step(step, effect, f"the {kind} {name} {'gives' if gives else 'does not give'} the permission.")
        )
    own = rights.own.get(permission)
    if own is False:
        steps.append(_step("own", "takes", "the permission was taken from this user alone."))
    elif own and known:
        steps.append(_step("own", "gives", "the permission was granted to this user alone."))
    else:
        steps.append(_step("own", "nothing", "nothing is said of this user alone."))
    return steps


def _god_mode(identity: Identity) -> dict[str, str]:
    if GOD_MODE in identity.granted:
        return _step("god_mode", "gives", f"the user holds {GOD_MODE}, which stands for every permission.")
    return _step("god_mode", "nothing", f"the user does not hold {GOD_MODE}, or is locked.")


def _account(user: User, identity: Identity, permission: str) -> list[dict[str, str]]:
    steps = []
    if not user.locked:
        steps.append(_step("locked", "nothing", "the account is not locked."))
    elif identity.held(permission):
        steps.append(_step("locked", "gives", "the account is locked, and locked accounts keep this."))
    else:
        steps.append(_step("locked", "takes", "the account is locked."))
    if user.enabled:
        steps.append(_step("enabled", "nothing", "the account is enabled."))
    else:
        steps.append(_step("enabled", "takes", "the account is disabled."))
    return steps


def _key(key: ApiKey, identity: Identity, permission: str) -> list[dict[str, str]]:
    if not identity.scope:
        scope = _step("key_scope", "nothing", "the key is not restricted.")
    elif identity.held(permission) and not identity.can(permission):
        scope = _step("key_scope", "takes", "the key is restricted, and its scope lacks the permission.")
    else:
        scope = _step("key_scope", "nothing", "the scope of the key does not stand in the way.")
    if _alive(key):
        return [scope, _step("key", "nothing", "the key is good.")]
    return [scope, _step("key", "takes", "the key is revoked or expired.")]


def _shared(thing: str, level: Level, identity: Identity) -> tuple[bool, dict[str, str]]:
    """What the predicate of sharing says. It does not tell what is not there from what is closed."""
    kind, _, number = thing.partition(":")
    model = _shared_model(kind)
    object_id = int(number)
    allows = can(level, model, identity)
    reached = db.session.scalar(select(model.id).where(model.id == object_id, allows)) is not None
    if not reached:
        sentence = f"nothing lets the user {level.name.lower()} {thing}, or it is not there."
        return False, _step("object", "takes", sentence)
    grants = select(Grant.audience).where(
        Grant.kind == kind, Grant.object_id == object_id, Grant.level >= level, reaching(identity)
    )
    through = [WHOM[Audience(audience)] for audience in db.session.scalars(grants.order_by(Grant.id))]
    if identity.is_god:
        how = f"{GOD_MODE} opens everything"
    elif through:
        how = f"it is shared with {through[0]}"
    else:
        how = "it is the user's own"
    return True, _step("object", "gives", f"{how}.")


def _shared_model(kind: str) -> Any:
    """The model whose rows a plugin shares under this name."""
    plugins = [plugin for name, plugin in current_site().plugins.items() if name != "core"]
    if any(kind.startswith(plugin.table_prefix) for plugin in plugins):
        for mapper in Base.registry.mappers:
            if getattr(mapper.class_, "__tablename__", "") == kind and {"id", "owner_id"} <= set(
                mapper.c.keys()
            ):
                return mapper.class_
    raise ValidationFailed.from_messages({"object": ["no such kind of thing can be shared"]})
