"""Somebody who uses carts, and the documents that are posted."""

import hashlib
from base64 import b64encode

from sqlalchemy import func, select

from cart.models import Cart, Entry
from cart.services import transfers
from core import storage
from core.db import db
from core.storage.models import Blob


class Person:
    """A client with the key of a user; without a name, without one."""

    def __init__(self, app, name=None, key=None, id=None):
        self.name = name
        self.key = key
        self.id = id
        self.client = app.test_client()
        if key:
            word = b64encode(f"{name}:{key}".encode()).decode()
            self.client.environ_base["HTTP_AUTHORIZATION"] = f"Basic {word}"

    def post(self, uid, *entries, **more):
        return self.client.post(f"/cart/{uid}", json={"fileids": list(entries), **more})

    def makes(self, uid, *entries, **more):
        answer = self.post(uid, *entries, **more)
        assert answer.status_code == 201, answer.text
        assert answer.json == {"message": "Cart Processing has begun"}

    def head(self, uid):
        return self.client.head(f"/cart/{uid}")

    def state(self, uid):
        """What HEAD says: the status, and both headers, which are always there."""
        answer = self.head(uid)
        assert answer.data == b""
        return (
            answer.status_code,
            answer.headers["X-Pacifica-Status"],
            answer.headers["X-Pacifica-Message"],
        )

    def status(self, uid, **query):
        answer = self.client.get(f"/cart/{uid}/status", query_string=query)
        assert answer.status_code == 200, answer.text
        return answer.json

    def get(self, uid, headers=None, **query):
        return self.client.get(f"/cart/{uid}", query_string=query, headers=headers)

    def delete(self, uid):
        return self.client.delete(f"/cart/{uid}")


def entry(data, path, identifier=None, **more):
    """An entry for a file with these bytes."""
    found = {
        "id": identifier or path,
        "path": path,
        "hashtype": "md5",
        "hashsum": hashlib.md5(data).hexdigest(),
    }
    return found | more


READY = (204, "ready", "")
SMALL = b"small\n"
LARGE = bytes(range(256)) * (transfers.SMALL // 256 + 1)  # it is stored by itself


class Guarded:
    """A source whose file only some may have, who may change."""

    kind = "local"

    def __init__(self):
        self.path, self.allowed = None, True

    def resolve(self, wanted, identity):
        size, mtime = self.path.stat().st_size, int(self.path.stat().st_mtime)
        return [[{"id": "x", "size": size, "mtime": mtime, "container": "box"}] for _ in wanted]

    def may_read(self, container, identity):
        return self.allowed

    def local_path(self, identifier):
        return self.path


def content(uid, path):
    """The stored bytes of a file of a cart."""
    db.session.rollback()
    digest = db.session.scalar(
        select(Entry.digest)
        .join(Cart, Cart.id == Entry.cart_id)
        .where(Cart.uid == uid, Cart.living.is_not(None), Entry.path == path)
    )
    with storage.store().open(digest) as stream:
        return stream.read()


def stored_bytes():
    """Bytes of files; those of the tables of carts do not count."""
    db.session.rollback()
    tables = select(Cart.table_digest).where(Cart.table_digest.is_not(None))
    query = select(func.coalesce(func.sum(Blob.size), 0)).where(Blob.digest.not_in(tables))
    return int(db.session.scalar(query))
