"""Make, find, list and delete carts."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from cart.document import Wanted, path_key
from cart.events import CartEvents
from cart.models import ALIVE, Cart, CartState, Entry, EntryState
from cart.permissions import CartPermissions as P
from cart.services import space
from cart.services.finishing import summary
from cart.services.resolving import Contents
from cart.services.space import target_of
from core import storage
from core.db import after_commit, change, db, now, own_transaction
from core.errors import Conflict, NotFound, PulsarError, Unavailable
from core.events import emit
from core.identity import Identity
from core.jobs import enqueue
from core.storage.rows import batches, write_rows

__all__ = [
    "begin_staging",
    "create_cart",
    "delete_cart",
    "find_cart",
    "get_cart",
    "list_carts",
    "remove_cart",
    "restart",
]

TRIES: Final = 3  # to be the one who makes a cart of a uid
STAGE: Final = "cart.stage"
PART: Final = 5000  # files whose rows are made at a time
REMOVING: Final = "The files could not be removed."


def living(identity: Identity, uid: str) -> str:
    """What no two living carts have alike. Callers without credentials share one name space."""
    return f"{'-' if identity.user_id is None else identity.user_id}:{uid}"


def find_cart(identity: Identity, uid: str) -> Cart | None:
    """The caller's living cart of that uid; else, for who may see those of others, any."""
    found = db.session.scalar(select(Cart).where(Cart.living == living(identity, uid)))
    if found is None and identity.can(P.VIEW_OTHERS):
        others = select(Cart).where(Cart.uid == uid, Cart.living.is_not(None)).order_by(Cart.id.desc())
        found = db.session.scalars(others.limit(1)).first()
    return found


def get_cart(identity: Identity, uid: str) -> Cart:
    """:raises NotFound: ``No cart with uid ... found``."""
    found = find_cart(identity, uid)
    if found is None:
        raise NotFound(f"No cart with uid {uid} found")
    return found


def list_carts(identity: Identity, *, page: int, limit: int) -> Sequence[Cart]:
    """The caller's own living carts, newest first."""
    mine = select(Cart).where(Cart.owner_id == identity.user_id, Cart.living.is_not(None))
    return db.session.scalars(mine.order_by(Cart.id.desc()).limit(limit).offset((page - 1) * limit)).all()


def create_cart(identity: Identity, uid: str, contents: Contents, *, bundle: bool, label: str) -> Cart:
    """Make the cart, and all its files; it replaces the one of this uid.

    One that is alive and holds just this stays as it is: a client may ask again when an answer was lost.
    """
    name = living(identity, uid)
    for _ in range(TRIES):
        old = db.session.scalar(
            select(Cart).where(Cart.living == name).with_for_update(),
            execution_options={"populate_existing": True},
        )
        if old is not None and old.document == contents.fingerprint and old.state in ALIVE:
            old.used_at, old.label = now(), label
            return old
        try:
            with db.session.begin_nested():
                return _replace(old, identity, uid, contents, bundle, label)
        except IntegrityError:
            continue  # somebody made one at the same moment
    raise Conflict("Others make carts of this name at the same time. Try again.")


def _replace(
    old: Cart | None, identity: Identity, uid: str, contents: Contents, bundle: bool, label: str
) -> Cart:
    _hold(contents.files)
    digests: Sequence[str] = ()
    if old is not None:
        # Its files go when the new ones are written down: what both have stays.
        digests = space.list_fetched(db.session, old.id)
        old.living = None
        db.session.flush()
    moment = now()
    files = contents.files
    failed = [one for one in files if one.state == EntryState.ERROR]
    staged = [one for one in files if one.state == EntryState.STAGED]
    cart = Cart(
        uid=uid,
        owner_id=identity.user_id,
        living=living(identity, uid),
        state=CartState.WAITING,
        message="",
        label=label,
        bundle=bundle,
        document=contents.fingerprint,
        containers=json.dumps(contents.containers),
        files=len(files),
        files_done=len(staged),
        files_failed=len(failed),
        bytes=sum(one.size or 0 for one in files),
        bytes_done=sum(one.size or 0 for one in staged),
        reserved=None,
        created_at=moment,
        updated_at=moment,
        used_at=moment,
    )
    db.session.add(cart)
    db.session.flush()
    _write_entries(cart, files)
    emit(CartEvents.CREATED, target=target_of(cart), files=cart.files)
    _begin(cart)
    if old is not None:
        space.retire(db.session, old)
        after_commit(lambda: space.release(digests))
    return cart


def _hold(files: Sequence[Wanted]) -> None:
    """Keep the sweep away from what is here, and notice what is not any more."""
    digests = {one.digest for one in files if one.digest is not None}
    if not digests:
        return
    here = storage.store().present(digests, hold=True)
    for one in files:
        if one.digest is not None and one.digest not in here:
            one.state, one.digest = EntryState.WAITING, None


def _write_entries(cart: Cart, files: Sequence[Wanted]) -> None:
    same = {"cart_id": cart.id, "on_tape": False, "tries": 0, "since": None, "next_try": None}
    for part in batches(enumerate(files), PART):
        rows = [
            {
                "position": position,
                "path": one.path,
                "path_key": path_key(one.path),
                "source": one.source,
                "source_id": one.id,
                "hashtype": one.hashtype,
                "hashsum": one.hashsum,
                "size": one.size,
                "mtime": one.mtime,
                "state": str(one.state),
                "error": one.error,
                "digest": one.digest,
            }
            for position, one in part
        ]
        write_rows(db.session, Entry, rows, same=same)


def _begin(cart: Cart) -> None:
    """Decide what the new cart is, and have a worker take it up if there is something to do."""
    if cart.files > cart.files_done + cart.files_failed:
        begin_staging(cart.id, cart.owner_id)
        return
    cart.reserved = 0
    if message := summary(cart.id):
        cart.state, cart.message = CartState.ERROR, message
        emit(CartEvents.FAILED, target=target_of(cart), reason=message)
    else:
        cart.state, cart.ready_at = CartState.READY, cart.created_at
        emit(CartEvents.READY, target=target_of(cart), files=cart.files, bytes=cart.bytes)
    db.session.flush()


def begin_staging(cart_id: int, owner_id: int | None) -> None:
    """Have a worker take the cart up, unless one has it."""
    enqueue(STAGE, owner_id=owner_id, unique_key=f"{STAGE} {cart_id}", cart_id=cart_id)


def delete_cart(identity: Identity, uid: str) -> None:
    """Delete the cart, stop all work for it, and free its space.

    It is gone when its space is free: until then it is there, as one that failed.

    :raises NotFound: there is none.
    :raises Unavailable: its files could not be removed; it is still there.
    """
    found = find_cart(identity, uid)
    if found is None:
        raise NotFound("Not Found")
    remove_cart(found.id)


def remove_cart(cart_id: int) -> None:
    """What :func:`delete_cart` does. The last step is for the caller to commit."""
    db.session.rollback()
    with own_transaction() as session:
        cart = session.scalar(select(Cart).where(Cart.id == cart_id).with_for_update())
        if cart is None or cart.living is None:
            raise NotFound("Not Found")
        digests = space.list_fetched(session, cart_id)
        space.drop_entries(session, cart_id)
        cart.state, cart.message, cart.reserved = CartState.ERROR, REMOVING, 0
    try:
        space.release(digests)
    except Unavailable as exc:
        raise CannotRemove(REMOVING) from exc
    cart = db.session.scalar(select(Cart).where(Cart.id == cart_id).with_for_update())
    if cart is not None and cart.living is not None:
        space.retire(db.session, cart)


class CannotRemove(PulsarError):
    """The files could not be removed."""

    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "cannot_remove"


def restart(cart: Cart) -> int:
    """Have what is not here of a failed cart fetched again; how many files that is.

    In the present transaction. Who calls it does the work, or has it done.
    """
    again = (
        update(Entry)
        .where(Entry.cart_id == cart.id, Entry.state != EntryState.STAGED)
        .values(state=EntryState.WAITING, error="", tries=0, since=None, next_try=None, on_tape=False)
    )
    count = change(db.session, again)
    if count:
        cart.state, cart.message, cart.updated_at = CartState.STAGING, "", now()
        cart.files_failed, cart.reserved = 0, None
        db.session.flush()
    return count
