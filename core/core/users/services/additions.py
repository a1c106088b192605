"""What plugins add to the page of somebody who is signed in."""

import logging
from typing import Any

from core.db import db
from core.identity import Identity
from core.plugins import hook_calls
from core.site import current_site

__all__ = ["find_additions"]

log = logging.getLogger(__name__)


def find_additions(identity: Identity) -> list[Any]:
    """The answers to the hook ``signed_in_page``; of a plugin that fails there is none, and no row either."""
    found: list[Any] = []
    for plugin, call in hook_calls(current_site().hooks, "signed_in_page"):
        try:
            with db.session.begin_nested():
                found += call(identity=identity)
        except (Exception, SystemExit):  # foreign code; people shall see the page, to sign out at least
            log.exception("plugin %s: hook signed_in_page failed", plugin)
    return found
