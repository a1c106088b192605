"""Push a part of a package: put one node into the tree of ``latest``, whatever the rest of it is."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from flask import current_app
from sqlalchemy import select

from core.db import db
from core.errors import BadRequest, Conflict, NotFound, TooLarge
from core.identity import Identity
from registry.errors import TagMoved
from registry.manifest import Tree, find_objects, top_hash
from registry.models import Revision, Tag
from registry.services import access, pushes
from registry.services.packages import find_package
from registry.services.pushes import ANYTHING, Push
from registry.services.trees import load_tree

__all__ = ["check_subpush", "subpush"]

LATEST: Final = "latest"
# Each time it is in vain somebody else's push has come through.
ATTEMPTS: Final = 50


def check_subpush(identity: Identity, push: Push, path: Sequence[str], *, dry_run: bool) -> Tree:
    """Everything that can be refused without looking at the objects and the rest of the tree.

    :param push: ``contents`` is the node, ``digest`` is not known yet.
    :param path: names of the groups that the node is to be in, and its own.
    :returns: what the node needs.
    :raises PulsarError: with the words of the first check that fails.
    """
    pushes.check_name(push.name)
    if isinstance(push.contents, dict) and push.contents.get("type") == "ROOT":
        raise BadRequest("Unexpected node type")
    planted: dict[str, Any] = {"type": "ROOT", "children": {}}
    _plant(planted, path, push.contents)
    pushes.check_shape(planted)
    if push.tag not in (None, LATEST):
        raise BadRequest(f"A part is pushed to the tag {LATEST}.", code="validation_failed")
    for name in push.opened:
        access.check_allowed(name)
    tree = find_objects(push.contents)
    if not dry_run:
        pushes.check_sizes(push, tree)
    pushes.check_target(identity, push)
    return tree


def subpush(identity: Identity, push: Push, path: Sequence[str]) -> str:
    """Make the revision that is ``latest`` with the node at ``path``, and let ``latest`` name it.

    Groups on the way are made; what was at ``path`` is replaced. Without a package or a tag ``latest`` the
    rest is empty. Of several at once each is put into what the one before it has made.

    :param push: with ``expect`` only if ``latest`` names that.
    :returns: the top hash.
    :raises NotFound: if a name on the way is no group.
    :raises TooLarge: if the whole tree would be larger than a push may be.
    :raises TagMoved: if ``latest`` is not where it is expected.
    :raises WrongObjects: as for a push.
    """
    for _ in range(ATTEMPTS):
        before, blob = _find_latest(identity, push)
        if push.expect not in (ANYTHING, before):
            raise TagMoved(LATEST, before)
        root, sizes = load_tree(blob) if blob else ({"type": "ROOT", "children": {}}, {})
        _plant(root, path, push.contents)
        if len(json.dumps(root)) > current_app.config["REGISTRY_MAX_BODY_BYTES"]:
            raise TooLarge("The package would be larger than a push may be.")
        tree = find_objects(root)
        whole = replace(
            push,
            digest=top_hash(root),
            contents=root,
            sizes={digest: push.sizes.get(digest, sizes.get(digest, 0)) for digest in tree.objects},
            tag=LATEST,
            expect=before,
        )
        try:
            pushes.push(identity, whole, tree)
        except TagMoved:
            db.session.rollback()  # somebody was faster: put the node into what he made
        else:
            return whole.digest
    raise Conflict("Too many pushes to this package at once. Push again.")


def _find_latest(identity: Identity, push: Push) -> tuple[str | None, str | None]:
    """The top hash that ``latest`` names and the blob of its tree, as stored at this moment."""
    seen = find_package(identity, push.owner, push.name)
    if seen is None:
        return None, None
    tagged = select(Revision.digest, Revision.tree).join(Tag, Tag.revision_id == Revision.id)
    row = db.session.execute(
        tagged.where(Tag.package_id == seen.package.id, Tag.name == LATEST)
    ).one_or_none()
    return (row[0], row[1]) if row else (None, None)


def _plant(root: dict[str, Any], path: Sequence[str], node: Any) -> None:
    group = root
    for name in path[:-1]:
        group = group["children"].setdefault(name, {"type": "GROUP", "children": {}})
        if group["type"] != "GROUP":
            raise NotFound(f"Target subpath is not a group node: {name!r}")
    group["children"][path[-1]] = node
