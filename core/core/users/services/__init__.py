"""What can be done with accounts. Services flush; the edge that called them commits."""

from core.identity import touch
from core.users.services.accounts import (
    FIRST_ADMIN_FILE,
    change_password,
    check_email,
    create_user,
    find_user,
    get_user,
    get_user_for,
    list_users,
    user_or_self,
)
from core.users.services.classes import (
    ADMINISTRATORS,
    administrators,
    change_class,
    create_class,
    delete_class,
    get_class,
    get_class_by_id,
    grant_defaults,
    list_classes,
    lowest_class,
)
from core.users.services.explaining import explain
from core.users.services.invites import get_invite, list_invites, register, revoke_invite, send_invite
from core.users.services.keys import (
    create_key,
    create_session,
    get_key,
    list_keys,
    revoke_all_keys,
    revoke_key,
    revoke_keys,
)
from core.users.services.login import check_password, log_in, refuse_if_locked_out
from core.users.services.moderation import change_user
from core.users.services.passwords import (
    check_password_policy,
    hash_password,
    looks_like_a_key,
    make_password,
    passwords,
)
from core.users.services.permissions import (
    basic_permissions,
    describe_permissions,
    effective_permissions,
    list_orphans,
    list_permissions,
)

__all__ = [
    "ADMINISTRATORS",
    "FIRST_ADMIN_FILE",
    "administrators",
    "basic_permissions",
    "change_class",
    "change_password",
    "change_user",
    "check_email",
    "check_password",
    "check_password_policy",
    "create_class",
    "create_key",
    "create_session",
    "create_user",
    "delete_class",
    "describe_permissions",
    "effective_permissions",
    "explain",
    "find_user",
    "get_class",
    "get_class_by_id",
    "get_invite",
    "get_key",
    "get_user",
    "get_user_for",
    "grant_defaults",
    "hash_password",
    "list_classes",
    "list_invites",
    "list_keys",
    "list_orphans",
    "list_permissions",
    "list_users",
    "log_in",
    "looks_like_a_key",
    "lowest_class",
    "make_password",
    "passwords",
    "refuse_if_locked_out",
    "register",
    "revoke_all_keys",
    "revoke_invite",
    "revoke_key",
    "revoke_keys",
    "send_invite",
    "touch",
    "user_or_self",
]
