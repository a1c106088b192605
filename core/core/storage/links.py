"""Signed links: a URL that lets whoever holds it do one thing with one blob until a set time.

    /blobs/<digest>?op=get&until=1767225600&name=run%207.csv&type=text%2Fcsv&sig=...
    /blobs/<digest>?op=put&until=1767225600&size=4096&user=7&sig=...
    /blobs/<digest>?op=put&until=1767225600&max=5368709120&user=7&sig=...

Everything but the address of the site is signed. A link for ``get`` opens GET and HEAD, one for ``put``
PUT and HEAD; ``put`` says who sends the bytes, because he may be told afterwards that they are here.

A push answers ten thousand links at once, so this is one HMAC over a short text with a key derived
beforehand: 4 us a link. itsdangerous' serializer, which derives its key for each, took 44 to 55 us.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from core.errors import Forbidden

__all__ = ["Grant", "Links"]

Op = Literal["get", "put"]

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a link allows.

    :param op: ``get`` or ``put``.
    :param until: seconds since 1970; the link ends there.
    :param size: bytes, for ``put``; None where the sender did not say it beforehand.
    :param max_bytes: the most that is taken, for ``put`` without a size.
    :param user_id: who sends them, for ``put``.
    :param name: under which a browser saves the bytes, for ``get``; empty: it may show them.
    :param media_type: of the answer, for ``get``; empty: ``application/octet-stream``.
    """

    op: Op
    digest: str
    until: int
    size: int | None = None
    max_bytes: int | None = None
    user_id: int | None = None
    name: str = ""
    media_type: str = ""


class Links:
    """Makes and opens links.

    :param secret: the site's ``SECRET_KEY``. Links are signed by a key derived from it, so that nothing else
        that is signed with it can be taken for a link.
    """

    def __init__(self, secret: str | bytes) -> None:
        key = secret.encode() if isinstance(secret, str) else secret
        self._key = hmac.digest(key, b"pulsar.blob-link.v1", "sha256")

    def download(self, digest: str, until: int, *, name: str = "", media_type: str = "") -> str:
        """Path and query of a link that opens GET and HEAD."""
        query = f"op=get&until={until}"
        if name:
            query += f"&name={quote(name, safe='')}"
        if media_type:
            query += f"&type={quote(media_type, safe='')}"
        return self._signed(digest, query)

    def upload(
        self,
        digest: str,
        until: int,
        *,
        size: int | None = None,
        max_bytes: int | None = None,
        user_id: int | None = None,
    ) -> str:
        """Path and query of a link that opens PUT of exactly these bytes, and HEAD.

        :param max_bytes: the most that is taken where the size is not known yet.
        """
        limit = f"size={size}" if size is not None else f"max={max_bytes}"
        query = f"op=put&until={until}&{limit}"
        if user_id is not None:
            query += f"&user={user_id}"
        return self._signed(digest, query)

    def open(self, digest: str, args: Mapping[str, str], ops: Collection[Op], now: float) -> Grant:
        """What the link to ``digest`` with the query ``args`` allows.

        :param ops: the operations the caller is about to do; a link for another is refused.
        :param now: seconds since 1970.
        :raises Forbidden: ``link_invalid`` or ``link_expired``.
        """
        grant = _read(digest, args)
        if grant is None or grant.op not in ops or not self._is_ours(grant, args.get("sig", "")):
            raise Forbidden("This link is not valid.", code="link_invalid")
        if now >= grant.until:
            raise Forbidden("This link has expired.", code="link_expired")
        return grant

    def _is_ours(self, grant: Grant, signature: str) -> bool:
        # Signed again from what was read: it does not matter how a proxy or a client spelt the query.
        if grant.op == "get":
            link = self.download(grant.digest, grant.until, name=grant.name, media_type=grant.media_type)
        else:
            link = self.upload(
                grant.digest,
                grant.until,
                size=grant.size,
                max_bytes=grant.max_bytes,
                user_id=grant.user_id,
            )
        return hmac.compare_digest(link.rpartition("=")[2].encode(), signature.encode())

    def _signed(self, digest: str, query: str) -> str:
        text = f"blobs/{digest}?{query}"
        signature = urlsafe_b64encode(hmac.digest(self._key, text.encode(), "sha256"))[:-1].decode()
        return f"{text}&sig={signature}"


def _read(digest: str, args: Mapping[str, str]) -> Grant | None:
    """The grant that ``args`` spell, be it signed or not; None if they spell none."""
    until, size, most = (_number(args.get(key)) for key in ("until", "size", "max"))
    if until is None:
        return None
    if args.get("op") == "get":
        return Grant("get", digest, until, name=args.get("name", ""), media_type=args.get("type", ""))
    if args.get("op") == "put" and (size is None) != (most is None):
        return Grant("put", digest, until, size=size, max_bytes=most, user_id=_number(args.get("user")))
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text and _NUMBER.fullmatch(text) else None
