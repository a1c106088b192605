"""Push a part of a package: put one node into the tree of ``latest``, whatever the rest of it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flask import current_app
from sqlalchemy import select

from core import storage
from core.db import db
from core.errors import BadRequest, Conflict, NotFound, TooLarge, Unavailable
from core.identity import Identity
from registry.manifest import Tree, find_objects, top_hash
from registry.models import Revision, Tag
from registry.services import access, pushes, tags
from registry.services.packages import find_package
from registry.services.pushes import Push
from registry.stored import BadStoredTree, StoredTree

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

    :returns: the top hash.
    :raises NotFound: if a name on the way is no group.
    :raises TooLarge: if the whole tree would be larger than a push may be.
    :raises WrongObjects: as for a push.
    """
    for _ in range(ATTEMPTS):
        before, blob = _find_latest(identity, push)
        root, sizes = _load(blob)
        _plant(root, path, push.contents)
        if len(json.dumps(root)) > current_app.config["REGISTRY_MAX_BODY_BYTES"]:
            raise TooLarge("The package would be larger than a push may be.")
        tree = find_objects(root)
        claimed = {digest: push.sizes.get(digest, sizes.get(digest, 0)) for digest in tree.objects}
        whole = replace(push, digest=top_hash(root), contents=root, sizes=claimed)
        pushes.push(identity, whole, tree)
        # From here on the package is locked: nobody moves the tag now, but somebody may have before.
        if _find_latest(identity, push)[0] == before:
            tags.set_tag(identity, push.owner, push.name, LATEST, whole.digest)
            return whole.digest
        db.session.rollback()
    raise Conflict("Too many pushes to this package at once. Push again.")


def _find_latest(identity: Identity, push: Push) -> tuple[int | None, str | None]:
    """The revision that ``latest`` names and the blob of its tree, as stored at this moment."""
    seen = find_package(identity, push.owner, push.name)
    if seen is None:
        return None, None
    tagged = select(Revision.id, Revision.tree).join(Tag, Tag.revision_id == Revision.id)
    row = db.session.execute(
        tagged.where(Tag.package_id == seen.package.id, Tag.name == LATEST)
    ).one_or_none()
    return (row[0], row[1]) if row else (None, None)


def _load(blob: str | None) -> tuple[dict[str, Any], Mapping[str, int]]:
    if blob is None:
        return {"type": "ROOT", "children": {}}, {}
    try:
        tree = StoredTree(storage.store().open(blob))
        return tree.load(), tree.sizes
    except (NotFound, BadStoredTree) as exc:
        raise Unavailable("The stored tree of this revision is damaged.", code="damaged") from exc


def _plant(root: dict[str, Any], path: Sequence[str], node: Any) -> None:
    group = root
    for name in path[:-1]:
        group = group["children"].setdefault(name, {"type": "GROUP", "children": {}})
        if group["type"] != "GROUP":
            raise NotFound(f"Target subpath is not a group node: {name!r}")
    group["children"][path[-1]] = node
