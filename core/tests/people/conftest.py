"""Invites, and many callers at once."""

import threading
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import delete, insert

from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2
from core.db import db, now
from core.users.models import Invite

CODES = [f"{letter * 20}-_09" for letter in "abcdefgh"]


@pytest.fixture
def two(client_of):
    """A client of user 2, who has no permissions of his own."""
    return client_of(KEY_OF_USER_2)


@pytest.fixture
def one(client_of):
    """A client of user 1, with a key that is not restricted."""
    return client_of(KEY_OF_USER_1)


@pytest.fixture
def make_invite(clean_database):
    """``make_invite(number, inviter_id=1, age=60, ...)``: its code. Those of the base data are gone."""
    db.session.execute(delete(Invite))
    db.session.commit()

    def make(number, *, inviter_id=1, age=60, **more):
        row = {
            "code": CODES[number],
            "inviter_id": inviter_id,
            "email": f"guest{number}@example.org",
            "sent_at": now() - timedelta(seconds=age),
            "from_ip": "192.0.2.1",
            "expired": False,
        }
        db.session.execute(insert(Invite), [row | more])
        db.session.commit()
        return CODES[number]

    return make


@pytest.fixture
def meet_at_hash(monkeypatch):
    """``meet_at_hash(n)``: each of n registrations has made its checks before any of them writes.

    More than ``passwords.AT_ONCE`` would wait for each other's turn for ever.
    """

    def meet(number):
        barrier, plain = threading.Barrier(number, timeout=30), PasswordHasher.hash

        def wait(self, password, **more):
            barrier.wait()
            return plain(self, password, **more)

        monkeypatch.setattr(PasswordHasher, "hash", wait)

    return meet
