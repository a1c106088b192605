"""Logging out: the key is forgotten here, and ended there if it was not made to be kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pulsar_client.errors import PulsarError, Unauthenticated
from pulsar_client.registry import Registry
from pulsar_client.settings import find_login, forget_login

MADE_BY_HAND = "key"  # the kind of a key that its user made on the site; others belong to one sign-in


@dataclass(frozen=True, slots=True)
class LogoutResult:
    """What `logout` did."""

    url: str
    removed: bool  # there was a key stored here
    revoked: bool  # it is good for nothing any more


def log_out(home: Path, url: str, make_registry: Callable[..., Registry], *, revoke: bool) -> LogoutResult:
    """Forget the key that is stored for ``url``, and end it on the site.

    A key that its user made may be in use elsewhere: it is ended only with ``revoke``, and then first, so
    that it is still here if the site does not answer. What a sign-in has made is ended as far as the site
    can be asked.

    :param make_registry: the site with a key, and with options of :class:`~pulsar_client.http.Http`.
    """
    login = find_login(home, url)
    if login is None:
        return LogoutResult(url, False, False)
    if revoke:
        revoked = _end(make_registry(login[1]))
    forget_login(home, url)
    if not revoke:
        revoked = _end_sign_in(make_registry(login[1], retries=0))
    return LogoutResult(url, True, revoked)


def _end(registry: Registry) -> bool:
    try:
        registry.revoke_key()
    except Unauthenticated:
        pass  # It had ended before.
    finally:
        registry.http.close()
    return True


def _end_sign_in(registry: Registry) -> bool:
    try:
        if registry.find_key_kind() == MADE_BY_HAND:
            return False
        registry.revoke_key()
    except Unauthenticated:
        return True
    except PulsarError:
        return False
    finally:
        registry.http.close()
    return True
