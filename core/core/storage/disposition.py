"""The name under which a browser saves a download (RFC 6266, RFC 8187)."""

import re
import unicodedata
from urllib.parse import quote

__all__ = ["content_disposition"]


def content_disposition(name: str) -> str:
    """``attachment`` with ``name``, whatever characters it has; nothing in it can end the header.

    Clients that know ``filename*`` take the exact name; the others get it in ASCII.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r'[^ -~]|["\\%;/]', "_", plain).strip() or "download"
    header = f'attachment; filename="{plain}"'
    if plain != name:
        header += f"; filename*=UTF-8''{quote(name, safe='')}"
    return header
