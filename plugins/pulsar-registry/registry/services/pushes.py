"""Push: checks in the order the protocol gives them, then bytes, then rows.

The write transaction begins when everything is checked and the tree is stored. The row of the package
is locked first, so pushes to one package follow each other; what decides (the package, the caller's rights,
the objects) is looked at again under that lock.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flask import current_app
from sqlalchemy import insert, literal, select

from core import storage
from core.db import db, now
from core.errors import BadRequest, Forbidden
from core.events import emit
from core.identity import Identity
from core.storage.models import Blob
from core.storage.rows import among, find_among, usable
from core.users.models import User
from registry.errors import WrongObjects
from registry.events import RegistryEvents
from registry.manifest import BadTree, Tree, check_tree, find_objects, find_parquet, find_readme, top_hash
from registry.models import Package, PackageObject, Revision
from registry.services import access, history, objects, quotas, search, statistics, tags
from registry.services.packages import PACKAGE_NAME, Seen, find_package, lock_package
from registry.services.quotas import Payer
from registry.services.readmes import Text, keep_text, read_text
from registry.services.references import LATEST
from registry.services.retrying import Overtaken, retrying
from registry.stored import pack_tree

__all__ = [
    "ANYTHING",
    "Push",
    "check_name",
    "check_push",
    "check_room",
    "check_shape",
    "check_sizes",
    "check_target",
    "find_payer",
    "iter_upload_urls",
    "push",
]

# Who cannot be written in a handle of the client cannot own a package.
OWNER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
RESERVED: Final = frozenset({"public", "team", "anonymous", "quilt"})
ANYTHING: Final = "*"


@dataclass(frozen=True, slots=True)
class Push:
    """What is to be pushed, and where.

    :param tag: shall name the revision from the same moment on.
    :param expect: top hash of what ``tag`` must name before; None: it must not be there yet.
    :param message: what the log shall say of this push; ``provenance``: likewise, any JSON object.
    """

    owner: str
    name: str
    digest: str  # top hash
    contents: Mapping[str, Any]
    sizes: Mapping[str, int]
    description: str = ""
    is_public: bool = False
    is_team: bool = False
    subpath: str = ""  # what of it was sent, where that was a part
    tag: str | None = None
    expect: str | None = ANYTHING
    message: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def handle(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def opened(self) -> list[str]:
        """The access rows that are asked for."""
        return [name for name, on in ((access.PUBLIC, self.is_public), (access.TEAM, self.is_team)) if on]


def check_push(identity: Identity, push: Push, *, dry_run: bool) -> Tree:
    """Everything that can be refused without looking at the objects; what the tree needs.

    :raises PulsarError: with the words of the first check that fails.
    """
    check_shape(push.contents)
    check_name(push.name)
    if push.contents["type"] != "ROOT":
        raise BadRequest("Unexpected node type")
    for name in push.opened:
        access.check_allowed(name)
    if top_hash(push.contents) != push.digest:
        raise BadRequest("Wrong contents hash", code="wrong_hash")
    tree = find_objects(push.contents)
    if not dry_run:
        check_sizes(push, tree)
    _check_tag(check_target(identity, push), push)
    return tree


def check_shape(root: Any) -> None:
    """:raises BadRequest: if ``root`` is no tree."""
    try:
        check_tree(root, max_depth=current_app.config["REGISTRY_MAX_DEPTH"])
    except BadTree as exc:
        raise BadRequest(f"Invalid contents: {exc}", code="validation_failed") from None


def check_name(name: str) -> None:
    """:raises BadRequest: if no package can have this name."""
    if not PACKAGE_NAME.fullmatch(name):
        raise BadRequest("Invalid package name")


def check_sizes(push: Push, tree: Tree) -> None:
    """:raises BadRequest: unless ``sizes`` names the objects of the tree and no others."""
    if push.sizes.keys() != set(tree.objects):
        raise BadRequest("Sizes don't match the hashes", code="wrong_sizes")


def _check_tag(seen: Seen | None, push: Push) -> None:
    if push.tag is not None and push.expect != ANYTHING:
        tags.check_expected(None if seen is None else seen.package.id, push.tag, push.expect)


def check_target(identity: Identity, push: Push) -> Seen | None:
    """The package, if it is there and ``identity`` may push to it; None if it may be created."""
    seen = find_package(identity, push.owner, push.name)
    if seen is None:
        _check_new(identity, push)
        return None
    if not seen.may_push:
        raise Forbidden("Only the package owner can push private packages.")
    for name, is_open in ((access.PUBLIC, seen.is_public), (access.TEAM, seen.is_team)):
        if name in push.opened and not is_open:
            raise Forbidden(
                f"{push.handle} is private. To make it {name}, run `quilt access add {push.handle} {name}`."
            )
    return seen


def _check_new(identity: Identity, push: Push) -> None:
    # A package that is there but not visible gets these words too: they say nothing of it.
    if push.owner != identity.username:
        raise Forbidden("Only the package owner can create packages.")
    if not OWNER_NAME.fullmatch(push.owner) or push.owner in RESERVED:
        raise Forbidden(
            f"{push.owner} cannot own packages: a name is a-z, 0-9 and _ and begins with a letter."
        )
    same = select(Package.name).where(
        Package.owner_id == identity.user_id,
        Package.name_key == push.name.casefold(),
        # One of exactly this name was made since we looked; the write finds it.
        Package.name != push.name,
    )
    if (other := db.session.scalar(same)) is not None:
        raise Forbidden(f"Package already exists: {push.owner}/{other}", code="case_collision")


def find_payer(identity: Identity, package: tuple[str, str] | None) -> Payer:
    """Whose quota a push to this package (owner, name) would fill; without one, to one of the caller's own.

    :raises Forbidden: if ``identity`` may not push there.
    """
    seen = None if package is None else check_target(identity, Push(*package, "", {}, {}))
    return _payer(identity, seen)


def _payer(identity: Identity, seen: Seen | None) -> Payer:
    if seen is None:
        assert identity.user_id is not None, "nobody creates packages without a login"
        return Payer(identity.user_id, identity.username or "", is_told=True)
    return Payer(seen.package.owner_id, seen.owner, is_told=seen.may_manage)


def check_room(identity: Identity, push: Push, tree: Tree) -> None:
    """Before anything is sent: see whether the quota has room for it.

    :raises OverQuota: if not. A size that nobody has told yet counts as one byte.
    """
    if quotas.is_limited():
        known = objects.proven(tree.objects, identity)
        sizes = {digest: push.sizes.get(digest, known.get(digest, 1)) for digest in tree.objects}
        payer = find_payer(identity, (push.owner, push.name))
        quotas.check_room(payer, quotas.count_new(payer, identity, sizes))


def iter_upload_urls(
    identity: Identity, needed: Iterable[str], sizes: Mapping[str, int]
) -> Iterator[tuple[str, str, str]]:
    """``(digest, head URL, put URL)`` for each object that a push needs.

    HEAD says "already there" to those with proof only: the link of somebody who may read the object is one
    for reading, that of others tells what they have sent themselves.
    """
    links = storage.links()
    most = current_app.config["REGISTRY_MAX_OBJECT_BYTES"]
    known = objects.readable(needed, identity)
    user_id = identity.user_id

    def make() -> Iterator[tuple[str, str, str]]:
        for digest in needed:
            size = sizes.get(digest)
            limit = most if size is None else None
            put = links.upload(digest, size, user_id, max_bytes=limit)
            yield digest, links.download(digest) if digest in known else put, put

    return make()


def push(identity: Identity, push: Push, tree: Tree) -> None:
    """Make the revision, or give it another tree, log the push and move the tag: all of it or nothing.

    :raises WrongObjects: naming objects that are not here, not the caller's to name, or of another size.
    :raises TagMoved: the tag does not name what is expected.
    """
    _check_objects(push.sizes, objects.proven(tree.objects, identity))
    # In the order of the tree, not in the sender's: the same tree shall be the same blob.
    sizes = {digest: push.sizes[digest] for digest in tree.objects}
    packed = pack_tree(push.contents, sizes, tree.metadata)
    readme = read_text(find_readme(push.contents))
    words: dict[str, int] = {}
    if push.tag == LATEST:
        words = search.words_of(push.name, push.contents, readme.text if readme else "")

    def write() -> None:
        # Inside, because a sweep may take it away again before a row refers to it.
        stored = storage.store().put(packed).digest
        _write(identity, push, tree, stored, readme, words)

    retrying(write)


def _check_objects(claimed: Mapping[str, int], here: Mapping[str, int]) -> None:
    missing = [digest for digest in claimed if digest not in here]
    if missing:
        raise WrongObjects(
            f"{len(missing)} objects are missing, the first is {missing[0]}. Push again to send them.",
            missing,
        )
    wrong = [digest for digest, size in claimed.items() if here[digest] != size]
    if wrong:
        raise WrongObjects(f"{len(wrong)} objects have another size, the first is {wrong[0]}.", wrong)


def _write(
    identity: Identity, push: Push, tree: Tree, stored: str, readme: Text | None, words: dict[str, int]
) -> None:
    package, payer = _lock_or_create(identity, push)
    moment = now()
    if not storage.store().present([stored], hold=True):
        raise Overtaken
    _add_objects(package, payer, {digest: push.sizes[digest] for digest in tree.objects})
    kept = keep_text(readme)
    revision = db.session.scalar(
        select(Revision)
        .where(Revision.package_id == package.id, Revision.digest == push.digest)
        .execution_options(populate_existing=True)
    )
    if revision is None:
        revision = Revision(
            package_id=package.id, digest=push.digest, created_by=identity.user_id, created_at=moment
        )
        db.session.add(revision)
    is_new = revision.tree != stored
    revision.readme = kept
    revision.tree, revision.updated_by, revision.updated_at = stored, identity.user_id, moment
    history.append(package, identity, push.digest, moment, message=push.message, provenance=push.provenance)
    package.updated_at = moment
    if push.description:
        package.description = push.description
    emit(
        RegistryEvents.PACKAGE_PUSHED,
        target=f"package:{push.handle}",
        hash=push.digest,
        public=push.is_public,
        subpath=push.subpath,
    )
    db.session.flush()
    if push.tag is not None:
        tags.point_tag(package, push.tag, revision, words, handle=push.handle, by=identity.user_id)
    if is_new and find_parquet(push.contents):
        statistics.ask_for(revision.id)


def _lock_or_create(identity: Identity, push: Push) -> tuple[Package, Payer]:
    seen = check_target(identity, push)
    if seen is not None and lock_package(db.session, seen.package.id) is None:
        db.session.expunge(seen.package)  # it was just deleted, and SQLite gives its id to the next
    elif seen is not None and (seen := check_target(identity, push)) is not None:
        # Asked again: rights may have gone while we waited for the lock, and the tag may have moved.
        _check_tag(seen, push)
        return seen.package, _payer(identity, seen)
    _check_tag(None, push)
    moment = now()
    package = Package(
        owner_id=db.session.scalars(select(User.id).where(User.username == push.owner)).one(),
        name=push.name,
        name_key=push.name.casefold(),
        description=push.description,
        created_at=moment,
        updated_at=moment,
    )
    db.session.add(package)
    db.session.flush()  # a unique constraint refuses the second of two; it then finds the first's
    emit(RegistryEvents.PACKAGE_CREATED, target=f"package:{push.handle}", shared=push.opened)
    for name in push.opened:
        access.open_package(package, name, identity)
    return package, _payer(identity, None)


def _add_objects(package: Package, payer: Payer, sizes: Mapping[str, int]) -> None:
    """Write down which objects the package now needs; those it has already cost a look-up."""
    held = select(PackageObject.digest).where(PackageObject.package_id == package.id)
    known = {digest for (digest,) in find_among(db.session, held, PackageObject.digest, sizes)}
    new = sizes.keys() - known
    if not new:
        return
    usage = quotas.lock_usage(db.session, package.owner_id)
    quotas.add(usage, payer, sum(sizes[digest] for digest in quotas.new_to(usage, new)))
    if _add_present(package, new) < len(new):
        absent = new - storage.store().present(new)
        raise WrongObjects(f"{len(absent)} objects are missing.", sorted(absent))


def _add_present(package: Package, digests: Collection[str]) -> int:
    """Write down those of ``digests`` that are here, and keep the sweep away from them; how many it is."""
    connection = db.session.connection()
    here = select(literal(package.id), Blob.digest).where(usable()).order_by(Blob.digest)
    here = here.with_for_update(read=True, key_share=True)
    # From one table into the other: the digests need not come here and go there again one by one.
    return sum(
        connection.execute(
            insert(PackageObject).from_select(["package_id", "digest"], here.where(condition)),
            execution_options={"preserve_rowcount": True},
        ).rowcount
        for condition in among(connection, Blob.digest, digests)
    )
