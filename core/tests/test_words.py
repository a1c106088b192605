"""What callers are told, word for word: clients show it, and old ones look for it.

A table has pairs of lines: who asks for what, with which body; and the answer, which is its status, its
``code`` where it is an error, and what stands in ``response``. They are asked in this order, of one site.
"""

import json
import re
from types import SimpleNamespace

import pytest

from core.conftest import CODE_1, CODE_2, KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db, now
from core.identity import OPERATOR
from core.notifications import notify
from core.users import services
from core.users.models import Invite

pytestmark = pytest.mark.any_database

ERRORS = """
nobody: GET /users/me
    401 unauthenticated: Invalid authorization.
nobody: GET /users/1
    401 unauthenticated: Invalid authorization.
nobody: GET /nothing
    401 unauthenticated: Invalid authorization.
bad key: GET /health
    401 unauthenticated: Invalid authorization.
revoked key: GET /health
    401 unauthenticated: Invalid authorization.
ordinary: GET /audit
    403 forbidden: You do not have permission to access this resource.
ordinary: PUT /users/1 {}
    403 forbidden: You do not have permission to access this resource.
restricted: GET /api_keys
    403 key_scope: This APIKey does not have permission to access this resource.
restricted: GET /audit
    403 forbidden: You do not have permission to access this resource.
locked: GET /users/1
    403 account_locked: Your account has been locked.
disabled: GET /users/1
    403 account_disabled: Your account has been disabled.
disabled: GET /health
    403 account_disabled: Your account has been disabled.
admin: GET /users/99
    404 not_found: User 99 does not exist.
admin: PUT /users/99 {}
    404 not_found: User 99 does not exist.
admin: GET /jobs/99
    404 not_found: Job 99 does not exist.
ordinary: GET /nothing
    404 not_found: Resource does not exist.
ordinary: PATCH /users/me
    405 method_not_allowed: Method not allowed for this resource.
admin: PUT /users/2 {
    400 bad_json: Unable to decode data. Is it valid JSON?
admin: PUT /users/2 []
    400 validation_failed: Invalid data: expected an object
admin: PUT /users/2 {"x": 1}
    400 validation_failed: Invalid data: Unknown field (key "x")
admin: GET /users?x=1
    400 validation_failed: Invalid data: Unknown field (key "x")
admin: GET /users/1?x=1
    400 validation_failed: Invalid data: Unknown field (key "x")
"""

KEYS = """
nobody: POST /api_keys {}
    401 unauthenticated: Invalid credentials.
nobody: POST /api_keys {"username": "user_two"}
    401 unauthenticated: Invalid credentials.
nobody: POST /api_keys {"username": "user_two", "password": "wrong"}
    401 unauthenticated: Invalid credentials.
nobody: POST /api_keys {"username": "nobody", "password": "12345"}
    401 unauthenticated: Invalid credentials.
nobody: POST /api_keys {"username": "off", "password": "12345"}
    403 account_disabled: Your account has been disabled.
nobody: POST /api_keys {"username": "user_two", "password": "12345", "permissions": ["site_view_audit"]}
    400 validation_failed: A key cannot have these permissions: site_view_audit.
admin: POST /api_keys {"permissions": ["nonsense"]}
    400 validation_failed: A key cannot have these permissions: nonsense.
ordinary: GET /api_keys/xxxxxxxxxx
    404 not_found: APIKey xxxxxxxxxx does not exist.
ordinary: GET /api_keys/cdefghijkl
    404 not_found: APIKey cdefghijkl does not exist.
ordinary: DELETE /api_keys/cdefghijkl
    404 not_found: APIKey cdefghijkl does not exist.
ordinary: GET /api_keys?user_id=1
    403 forbidden: You do not have permission to access this resource.
ordinary: DELETE /api_keys?user_id=1
    403 forbidden: You do not have permission to access this resource.
admin: GET /api_keys?user_id=abc
    400 validation_failed: User ID must be an integer.
admin: GET /api_keys?user_id=99
    404 not_found: User 99 does not exist.
admin: DELETE /api_keys/1234567890
    400 already_revoked: APIKey 1234567890 is already revoked.
admin: DELETE /api_keys/abcdefghij
    200: APIKey abcdefghij has been revoked.
admin: DELETE /api_keys/abcdefghij
    400 already_revoked: APIKey abcdefghij is already revoked.
ordinary: PUT /users/settings {}
    200: Settings updated.
ordinary: PUT /users/settings {"existing_password": "x", "new_password": "correct horse 1!"}
    401 unauthenticated: Invalid existing password.
ordinary: PUT /users/settings?user_id=3 {}
    403 forbidden: You do not have permission to access this resource.
unable: PUT /users/settings {"existing_password": "12345", "new_password": "correct horse 1!"}
    403 forbidden: You do not have permission to change this password.
ordinary: DELETE /api_keys
    200: All api keys have been revoked.
ordinary: GET /users/me
    401 unauthenticated: Invalid authorization.
"""

PEOPLE = """
nobody: POST /users {<ann>}
    400 bad_request: An invite code is required for registration.
nobody: POST /users {<ann>, "code": 7}
    400 bad_request: Invite code must be a 24 character string.
nobody: POST /users {<ann>, "code": "short"}
    400 bad_request: Invite code must be a 24 character string.
nobody: POST /users {<ann>, "code": "xxxxxxxxxxxxxxxxxxxxxxxx"}
    400 bad_request: xxxxxxxxxxxxxxxxxxxxxxxx is not a valid invite code.
nobody: POST /users {<ann>, "code": "<revoked code>"}
    400 bad_request: <revoked code> is not a valid invite code.
nobody: POST /users {"username": "User_One", "password": "correct horse 1!", "email": "a@example.org"}
    400 validation_failed: Invalid data: another user already has the username User_One (key "username")
nobody: POST /users {<ann>, "code": "<code>"}
    200: {"username": "ann"}
nobody: POST /users {"username": "bob", "password": "correct horse 1!", "email": "a@b.c", "code": "<code>"}
    400 bad_request: <code> is not a valid invite code.
admin: GET /invites/xxxxxxxxxxxxxxxxxxxxxxxx
    404 not_found: Invite xxxxxxxxxxxxxxxxxxxxxxxx does not exist.
ordinary: GET /invites/<code>
    404 not_found: Invite <code> does not exist.
ordinary: DELETE /invites/<code>
    404 not_found: Invite <code> does not exist.
admin: DELETE /invites/<code>
    404 not_found: Invite <code> does not exist.
ordinary: GET /invites?user_id=1
    403 forbidden: You do not have permission to access this resource.
admin: GET /invites?user_id=abc
    400 validation_failed: User ID must be an integer.
admin: POST /invites {"email": "a@example.org"}
    400 bad_request: You do not have an invite to send.
ordinary: GET /notifications/core_other
    400 bad_request: core_other is not a notification type.
ordinary: PUT /notifications/core_other {"read": true}
    400 bad_request: core_other is not a notification type.
ordinary: PUT /notifications/999999 {"read": true}
    404 not_found: Notification 999999 does not exist.
ordinary: PUT /notifications/<other> {"read": true}
    404 not_found: Notification <other> does not exist.
ordinary: PUT /notifications/<mine> {"read": true}
    200: Notification <mine> marked as read.
ordinary: PUT /notifications/<mine> {"read": false}
    200: Notification <mine> marked as unread.
ordinary: PUT /notifications {"read": false}
    400 validation_failed: Invalid data: many can be marked as read, and not as unread (key "read")
ordinary: PUT /notifications/core_news {"read": true}
    200: core_news notifications cleared.
ordinary: PUT /notifications {"read": true}
    200: All notifications cleared.
ordinary: GET /notifications?user_id=1
    403 forbidden: You do not have permission to access this resource.
"""

RIGHTS = """
admin: PUT /users/2 {"permissions": {"users_view": true}}
    400 validation_failed: The following permissions could not be added: users_view.
admin: PUT /users/2 {"permissions": {"jobs_view_others": false, "site_view_audit": false}}
    400 validation_failed: The following permissions could not be deleted: jobs_view_others, site_view_audit.
admin: PUT /users/2 {"permissions": {"nonsense": true}}
    400 validation_failed: Invalid data: nonsense is not a valid permission (key "permissions")
moderator: PUT /users/2 {"permissions": {"users_view": false}}
    400 validation_failed: Invalid data: users_view is not a valid permission (key "permissions")
moderator: PUT /users/2 {"user_class_id": 1}
    403 forbidden: You do not have permission to access this resource.
moderator: PUT /users/1 {"locked": true}
    403 forbidden: You do not have permission to access this resource.
admin: PUT /users/1 {"locked": true}
    400 last_administrator: The last administrator cannot be locked, disabled or stripped of site_god_mode.
admin: PUT /users/1 {"enabled": false}
    400 last_administrator: The last administrator cannot be locked, disabled or stripped of site_god_mode.
admin: PUT /users/1 {"permissions": {"site_god_mode": false}}
    400 last_administrator: The last administrator cannot be locked, disabled or stripped of site_god_mode.
admin: GET /user_classes/999999
    404 not_found: UserClass 999999 does not exist.
admin: GET /user_classes/999999?secondary=1
    404 not_found: SecondaryClass 999999 does not exist.
admin: POST /user_classes {"name": "user", "permissions": []}
    400 name_taken: Another UserClass already has the name user.
admin: POST /user_classes {"name": "fls", "permissions": [], "secondary": true}
    400 name_taken: Another SecondaryClass already has the name fls.
admin: PUT /user_classes/1 {"permissions": {"users_view": true}}
    400 bad_request: UserClass User already has the permission users_view.
admin: PUT /user_classes/1 {"permissions": {"site_view_audit": false}}
    400 bad_request: UserClass User does not have the permission site_view_audit.
admin: PUT /user_classes/1 {"permissions": {"nonsense": true}}
    400 validation_failed: Invalid data: nonsense is not a valid permission (key "permissions")
admin: DELETE /user_classes/1?secondary=1
    400 class_in_use: You cannot delete a SecondaryClass while users are assigned to it.
admin: DELETE /user_classes/<staff>
    400 class_in_use: You cannot delete a UserClass while users are assigned to it.
admin: DELETE /user_classes/1
    400 bad_request: The UserClass User cannot be deleted: new users are put into it.
admin: DELETE /user_classes/<lab>?secondary=1
    200: SecondaryClass Lab has been deleted.
"""

PAIR = re.compile(r"^([\w ]+): (\w+) (\S+)(?: (.*))?\n    (\d+)(?: (\w+))?: (.*)$", re.M)
TABLES = {"errors": ERRORS, "keys": KEYS, "people": PEOPLE, "rights": RIGHTS}
ANN = '"username": "ann", "password": "correct horse 1!", "email": "ann@example.org"'


@pytest.fixture
def site(app, client, client_of, api_key_factory):
    """Somebody of every kind, and something for each to ask for."""
    db.session.query(Invite).delete()
    services.grant_defaults("core")
    db.session.commit()
    add_permissions(app, "site_god_mode")
    people = {}
    for name in ("shut", "off", "moder", "unable"):
        people[name] = services.create_user(name, "correct horse 1!", "x@example.org")
        people[name].password = services.passwords().hash("12345")
    keys = {name: api_key_factory(user) for name, user in people.items()}
    staff = services.create_class("Staff", [], OPERATOR)
    lab = services.create_class("Lab", [], OPERATOR, secondary=True)
    changes = {
        "shut": {"locked": True},
        "off": {"enabled": False, "user_class_id": staff.id},
        "moder": {"permissions": {"users_moderate": True}},
        "unable": {"permissions": {"users_change_password": False}},
    }
    for name, changed in changes.items():
        services.change_user(services.find_user(name).id, changed, OPERATOR)
    for code, expired in ((CODE_1, False), (CODE_2, True)):
        db.session.add(Invite(code=code, inviter_id=1, email="a@example.org", sent_at=now(), expired=expired))
    mine, other = (notify(number, "core_news", None).id for number in (2, 3))
    db.session.commit()
    ids = {"staff": staff.id, "lab": lab.id, "mine": mine, "other": other}
    return SimpleNamespace(
        known={"ann": ANN, "code": CODE_1, "revoked code": CODE_2, **ids},
        clients={
            "nobody": client,
            "bad key": client_of("x" * 50),
            "revoked key": client_of("1234567890" + CODE_2),
            "admin": client_of(KEY_OF_USER_1),
            "ordinary": client_of(KEY_OF_USER_2),
            "restricted": client_of(api_key_factory(services.get_user(2), permissions=["users_view"])),
            "locked": client_of(keys["shut"]),
            "disabled": client_of(keys["off"]),
            "moderator": client_of(keys["moder"]),
            "unable": client_of(keys["unable"]),
        },
    )


@pytest.mark.parametrize("table", TABLES)
def test_every_caller_is_told_in_these_words(site, table):
    text = TABLES[table]
    for name, value in site.known.items():
        text = text.replace(f"<{name}>", str(value))
    pairs = PAIR.findall(text)
    assert len(pairs) * 2 == len(text.split("\n")) - 2, "not every line is part of a pair"
    wrong = []
    for who, method, path, body, status, code, words in pairs:
        answer = site.clients[who].open(path, method=method, data=body)
        expected = int(status), code, json.loads(words) if words.startswith("{") else words
        found = answer.status_code, answer.json.get("error", {}).get("code", ""), answer.json["response"]
        if found != expected:
            wrong.append((f"{who}: {method} {path} {body}", found, expected))
    assert wrong == []
