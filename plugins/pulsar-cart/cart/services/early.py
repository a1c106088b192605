"""The tar of a cart that is still being staged: its files are sent in the order in which they come.

How many bytes a file takes in a tar does not depend on the others, so the length is known as soon as all
sizes are. It needs an app context, and takes a connection to the database for moments only.
"""

import errno
import io
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, timedelta
from itertools import chain, islice
from typing import Final

from flask import current_app
from sqlalchemy import and_, exists, or_, select

from cart.bundle import Entries, Tar, tar_bytes
from cart.models import Cart, CartState, Entry, EntryState
from cart.pieces import BrokenBundle, Pieces
from cart.services.downloads import NOTE, Download, names_of, note_use
from cart.services.reading import Reader
from cart.services.tables import iter_members
from cart.table import Member, Table, write_table
from core.db import db, now

__all__ = ["open_early"]

LOOK: Final = 0.25  # s between two looks for what has come
CHUNK: Final = 512  # files that are looked for with one statement, and sent then
BATCH: Final = 5000  # files that are measured at a time


def open_early(cart: Cart, *, name: str | None, is_unwanted: Callable[[], bool]) -> Download | None:
    """The tar of a cart that is being staged, or None if it cannot be begun yet: not all sizes are known.

    :param name: what the caller wants it to be called, in any form.
    :param is_unwanted: whether nobody waits for it any more; is asked while nothing can be sent.
    """
    if not _is_measurable(cart):
        return None
    made_at = cart.created_at.astimezone(UTC)
    file_name, top = names_of(cart, name, made_at, Tar.suffix)
    count, stream = cart.files, _Stream(cart.id, top, is_unwanted)
    db.session.rollback()
    if stream.count != count:  # it was deleted at this moment
        return None
    return Download(file_name, None, made_at, stream.total, lambda *_: stream.blocks(), resumable=False)


def _is_measurable(cart: Cart) -> bool:
    """Whether all sizes are known, and nothing speaks against the cart becoming ready."""
    if cart.state != CartState.STAGING or cart.reserved is None or cart.files_failed:
        return False
    is_unknown = and_(Entry.size.is_(None), Entry.digest.is_(None))
    states = (EntryState.WAITING, EntryState.ERROR)
    open_ = exists().where(Entry.cart_id == cart.id, or_(Entry.state.in_(states), is_unknown))
    return not db.session.scalar(select(open_))


class _Stream:
    """Sends each file once, as soon as it is here. Memory: 17 bytes for each file, and a batch of them.

    :ivar count: of files.
    :ivar total: bytes of the whole.
    """

    def __init__(self, cart_id: int, top: str, is_unwanted: Callable[[], bool]) -> None:
        self._cart_id = cart_id
        self._top = top
        self._is_unwanted = is_unwanted
        self._sizes, self._mtimes = array("Q"), array("q")  # what was promised
        self._files_bytes = 0
        members = (member for _, member in iter_members(cart_id))
        while batch := list(islice(members, BATCH)):
            self._sizes.extend(one.size for one in batch)
            self._mtimes.extend(one.mtime for one in batch)
            self._files_bytes += self._tar(batch)[1].files_bytes
        self.count = len(self._sizes)
        self.total = tar_bytes(self._files_bytes)
        self._is_sent = bytearray(self.count)
        self._first = 0  # where something was found last

    def blocks(self) -> Pieces:
        """All of it.

        :raises BrokenBundle: the cart or one of its files failed, or nothing comes any more; and whatever
            reading a file raises. Then what was sent must not look complete.
        :raises BrokenPipeError: nobody waits for it any more.
        """
        yield b""  # so that the head of the answer does not wait for the first file
        sent = 0
        came_at = noted_at = now()
        limit = timedelta(seconds=current_app.config["CART_STALL_TIMEOUT"])
        while sent < self.count:
            if come := self._look(sent):
                reader, tar = self._tar([self._promised(position, one) for position, one in come])
                with reader, closing(tar.blocks(0, tar.files_bytes)) as pieces:
                    yield from pieces
                for position, _ in come:
                    self._is_sent[position] = True
                sent += len(come)
                came_at = now()
                continue
            if self._is_unwanted():
                raise BrokenPipeError(errno.EPIPE, "the client has hung up")
            moment = now()
            if moment > came_at + limit:
                raise BrokenBundle("nothing comes any more")
            if moment > noted_at + NOTE:
                noted_at = moment
                note_use(self._cart_id)
            threading.Event().wait(LOOK)
        yield bytes(self.total - self._files_bytes)

    def _look(self, sent: int) -> Sequence[tuple[int, Member]]:
        """Some of the files that have come and were not sent yet."""
        db.session.rollback()
        columns = select(Cart.state, Cart.files_done, Cart.files_failed)
        cart = db.session.execute(columns.where(Cart.id == self._cart_id)).one_or_none()
        db.session.rollback()
        if cart is None or cart.state not in (CartState.STAGING, CartState.READY) or cart.files_failed:
            raise BrokenBundle("the cart has failed, or is not there any more")
        if cart.files_done == sent:
            return ()
        for chunk in self._chunks():
            which = Entry.state == EntryState.STAGED, Entry.position.in_(chunk)
            come = list(iter_members(self._cart_id, *which))
            db.session.rollback()
            if come:
                self._first = chunk[0]
                return come
        return ()

    def _chunks(self) -> Iterator[list[int]]:
        """What was not sent, some at a time; first what is near to that which was found last."""
        positions = chain(self._unsent(self._first, self.count), self._unsent(0, self._first))
        while chunk := list(islice(positions, CHUNK)):
            yield chunk

    def _unsent(self, first: int, stop: int) -> Iterator[int]:
        while (first := self._is_sent.find(0, first, stop)) >= 0:
            yield first
            first += 1

    def _promised(self, position: int, member: Member) -> Member:
        """The member as it was when the length was told.

        :raises BrokenBundle: it has another size now.
        """
        if member.size != self._sizes[position]:
            raise BrokenBundle(f"{member.path!r} has {member.size} bytes, not {self._sizes[position]}")
        return member._replace(mtime=self._mtimes[position])

    def _tar(self, members: Sequence[Member]) -> tuple[Reader, Tar]:
        out = io.BytesIO()
        write_table(members, out)
        data = out.getvalue()
        table = Table(lambda start, stop: data[start:stop], len(data))
        reader = Reader(table)
        return reader, Tar(Entries(table, reader.read, self._top))
