"""Data to try a site with: what every test begins with, and what ``flask dev insertdata`` writes.

The keys, codes and passwords below are known to everybody who has read this file.
"""

from typing import Any, Final

from sqlalchemy import text

from core.db import db, now
from core.identity import digest_of
from core.users import services
from core.users.models import ApiKey, Invite, SecondaryClass, SecondaryClassMember, User

__all__ = [
    "CODE_1",
    "CODE_2",
    "CODE_3",
    "CODE_4",
    "KEY_OF_USER_1",
    "KEY_OF_USER_2",
    "PASSWORD",
    "CorePopulator",
    "TestDataPopulator",
]

CODE_1: Final = "abcdefghijklmnopqrstuvwx"
CODE_2: Final = "bcdefghijklmnopqrstuvwxy"
CODE_3: Final = "cdefghijklmnopqrstuvwxyz"
CODE_4: Final = "defghijklmnopqrstuvwxyz1"
KEY_OF_USER_1: Final = "cdefghijkl" + CODE_3
KEY_OF_USER_2: Final = "bcdefghijk" + CODE_3
PASSWORD: Final = "12345"  # noqa: S105 - of everyone here, and shorter than anyone could choose
SCOPE: Final = ["sample_permission", "sample_2_permission", "sample_3_permission"]


class TestDataPopulator:
    """Some data of one plugin. ``flask dev insertdata`` writes those that its list ``POPULATORS`` names.

    The tables are empty before, except for what plugins it requires have written. Who calls commits.
    """

    __test__ = False  # pytest takes a class of such a name for tests

    @classmethod
    def populate(cls) -> None:
        """Write the data."""

    @classmethod
    def unpopulate(cls) -> None:
        """Remove what is left when the tables are emptied, such as files. Called just before that."""


class CorePopulator(TestDataPopulator):
    """Three people, their classes, four keys and four invites."""

    @classmethod
    def populate(cls) -> None:
        lowest = services.lowest_class()
        db.session.add(SecondaryClass(id=1, name="FLS"))
        db.session.flush()
        moment, password = now(), services.passwords().hash(PASSWORD)
        for number, name in enumerate(("user_one", "user_two", "user_three"), start=1):
            user = User(
                id=number,
                username=name,
                username_key=name,
                email=f"{name}@example.org",
                password=password,
                user_class_id=lowest.id,
                inviter_id=1 if number == 2 else None,
                created_at=moment,
            )
            db.session.add(user)
        db.session.flush()
        db.session.add(SecondaryClassMember(user_id=1, secondary_class_id=1))
        db.session.add_all(_keys())
        db.session.add_all(_invites())
        db.session.flush()
        if db.engine.dialect.name == "postgresql":
            # Numbers that were given do not move the sequence; the next user would get 1 again.
            for table, last in (("core_users", 3), ("core_user_classes", 1), ("core_secondary_classes", 1)):
                db.session.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"))


def _keys() -> list[ApiKey]:
    moment = now()
    rows: list[tuple[str, str, int, dict[str, Any]]] = [
        ("abcdefghij", CODE_1, 1, {"permissions": SCOPE}),
        ("cdefghijkl", CODE_3, 1, {}),
        ("bcdefghijk", CODE_3, 2, {}),
        ("1234567890", CODE_2, 2, {"revoked": True}),
    ]
    fixed = {"created_at": moment, "last_used_at": moment}
    return [
        ApiKey(hash=hash_, digest=digest_of(secret), user_id=user_id, **fixed, **more)
        for hash_, secret, user_id, more in rows
    ]


def _invites() -> list[Invite]:
    """Of user 1: one that was used, a good one, one that was revoked. Of user 2: a good one."""
    rows: list[tuple[str, int, str, dict[str, Any]]] = [
        (CODE_1, 1, "user_two", {"expired": True, "invitee_id": 2}),
        (CODE_2, 1, "guest_two", {}),
        (CODE_3, 1, "guest_three", {"expired": True}),
        (CODE_4, 2, "guest_four", {}),
    ]
    return [
        Invite(code=code, inviter_id=inviter, email=f"{name}@example.org", sent_at=now(), **more)
        for code, inviter, name, more in rows
    ]
