"""The settings of core: what each means, what it may be, and what it is when nobody says anything."""

import re
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from marshmallow import ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from core.config import Setting

__all__ = ["Config", "check_limit"]

ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII
)
PREFIX: Final = re.compile(r"/?|/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?", re.ASCII)


def _check_prefixes(value: dict[str, str]) -> None:
    for plugin, prefix in value.items():
        if plugin == "core":
            raise ValidationError("core has its fixed place.")
        if not PREFIX.fullmatch(prefix):
            raise ValidationError(f"{prefix!r} is not a path.")


def _check_database(value: str) -> None:
    try:
        make_url(value).get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise ValidationError("Not the address of a database that can be used.") from None


def check_limit(value: tuple[int, ...]) -> None:
    """:raises ValidationError: unless ``value`` is a rate limit: requests, and seconds."""
    if len(value) != 2 or min(value) < 1 or max(value) > 2**31:
        raise ValidationError("Not a number of requests and a number of seconds.")


def _check_webhooks(value: list[dict[str, Any]]) -> None:
    for hook in value:
        events = hook.get("events")
        if hook.keys() != {"url", "events", "secret"} or not (
            isinstance(hook["secret"], str) and hook["secret"]
        ):
            raise ValidationError("A webhook has the keys url, events and secret, and no other.")
        if not _is_address(hook["url"]):
            raise ValidationError(f"{hook['url']!r} is not an address on the web.")
        if not (isinstance(events, list) and all(_is_pattern(name) for name in events)):
            raise ValidationError("The events of a webhook are a list of names, with * for any end.")
    if len({hook["url"] for hook in value}) < len(value):
        raise ValidationError("Two webhooks have the same address.")


def _is_address(url: Any) -> bool:
    if not (isinstance(url, str) and re.fullmatch(r"https?://[!-~]+", url)):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError:  # a port out of range, a bracket too many
        return False


def _check_mail(value: str) -> None:
    try:
        parts = urlsplit(value)
        sender = parse_qs(parts.query, strict_parsing=bool(parts.query)).get("from", ["a@b"])
        good = (
            parts.scheme in ("smtp", "smtps")
            and bool(parts.hostname)
            and parts.port != 0
            and parts.path in ("", "/")
            and "@" in sender[0]
        )
    except ValueError:
        good = False
    if value and not good:
        raise ValidationError(
            "Not an address like smtp://user:password@mail.example.org?from=data@example.org."
        )


def _is_pattern(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z0-9_.-]+\*?|\*", name) is not None


def _check_origins(value: list[str]) -> None:
    for origin in value:
        if origin != "*" and not _is_origin(origin):
            raise ValidationError(
                f"{origin!r} is not an origin as browsers send it: scheme://host[:port] in lower case,"
                " without the usual port and without a path."
            )


def _is_origin(text: str) -> bool:
    if not ORIGIN.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.port not in (0, {"http": 80, "https": 443}.get(parts.scheme, 0))
    except ValueError:  # a port out of range, an address in brackets that is none
        return False


def _check_redis(value: str) -> None:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValidationError("Not an address: its port or host is wrong.") from None
    if value and parts.scheme not in ("redis", "rediss", "unix", "memory"):
        raise ValidationError("Not the address of a Redis: redis://, rediss:// or unix:// (or memory://).")


def _check_callable(value: Any) -> None:
    if not callable(value):
        raise ValidationError("Not a function.")


def _check_argon2(value: dict[str, Any]) -> None:
    try:
        PasswordHasher(**value)
    except (TypeError, ValueError, Argon2Error) as exc:
        raise ValidationError(str(exc)) from None


class Config:
    """Settings of core. Paths that are not absolute are below the instance folder."""

    PLUGINS = Setting(
        [], "Plugins to load, by the names of their entry points. core is always loaded.", item=str
    )
    PLUGIN_FAILURE = Setting(
        "abort", "What a broken plugin does: stop the start, or be left out.", choices=("abort", "skip")
    )
    URL_PREFIXES = Setting(
        {},
        "Where plugins are mounted, e.g. {'cart': '/'}; otherwise where they ask to be.",
        item=str,
        check=_check_prefixes,
    )
    PUBLIC_URL = Setting("", "Address of the site as users type it; empty: taken from each request.")
    SECRET_KEY = Setting("", "Signs links and sessions. Changing it invalidates them.", secret=True)
    SQLALCHEMY_DATABASE_URI = Setting(
        "sqlite:///pulsar.db",
        "The database: SQLite, PostgreSQL or MariaDB.",
        check=_check_database,
        secret=True,
        aliases=("DATABASE_URL",),
    )
    ARGON2_PARAMETERS = Setting(
        {},
        "Cost of a password's digest, by argon2-cffi's names; empty: its defaults.",
        item=int,
        check=_check_argon2,
    )
    PASSWORD_POLICY = Setting(
        None,
        "Function of (password, username, email) that says in one line what is wrong with a new password.",
        check=_check_callable,
    )
    REQUIRE_INVITE_CODE = Setting(True, "Only who was invited may register.")
    INVITE_LIFETIME = Setting(3 * 24 * 3600, "How long an invite can be used.", unit="s", minimum=60)
    LOCKED_ACCOUNT_PERMISSIONS = Setting([], "All that a locked account may still do.", item=str)
    BASIC_PERMISSIONS = Setting(
        ["invites_send"], "Permissions that users_moderate is enough to give and take away.", item=str
    )
    RATE_LIMIT_AUTH_SPECIFIC = Setting(
        (50, 80),
        "Requests of one API key or session in so many seconds; None for no limit.",
        "requests, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    RATE_LIMIT_PER_USER = Setting(
        (80, 80),
        "Requests of one user in so many seconds; None for no limit.",
        "requests, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    RATE_LIMIT_UNAUTH = Setting(
        (30, 60),
        "Requests without credentials from one address in so many seconds; None for no limit.",
        "requests, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    RATE_LIMIT_LOGIN_ACCOUNT = Setting(
        (10, 900),
        "Failed logins to one account in so many seconds; None for no limit.",
        "logins, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    RATE_LIMIT_LOGIN_ADDRESS = Setting(
        (30, 900),
        "Failed logins from one address in so many seconds; None for no limit.",
        "logins, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    REDIS_URL = Setting(
        "",
        "Redis that counts requests for several machines; empty or memory://: each machine counts its own.",
        secret=True,
        check=_check_redis,
    )
    SESSION_LIFETIME = Setting(
        14 * 24 * 3600,
        "How long a browser stays signed in without use.",
        unit="s",
        minimum=60,
        maximum=31_536_000,
    )
    CORS_ORIGINS = Setting(
        [],
        "Origins whose pages may call the API from a browser, e.g. ['https://lab.example.org']; '*': all.",
        item=str,
        check=_check_origins,
    )
    WEBHOOKS = Setting(
        [],
        "Who is told of events: {'url': ..., 'events': ['core.user.*'], 'secret': ...} each.",
        item=dict,
        check=_check_webhooks,
        secret=True,
    )
    WEBHOOK_ALLOW_PRIVATE = Setting(False, "Webhooks may go to private and local addresses.")
    MAIL_URL = Setting(
        "",
        "The server that takes mail: smtp://user:password@mail.example.org:587?from=data@example.org, or smtps://;"
        " empty: none, and what would be mailed is logged where that is safe. Set PUBLIC_URL too.",
        check=_check_mail,
        secret=True,
    )
    AUDIT_KEEP = Setting(
        None,
        "How long events stay in the audit log; None: for ever.",
        "s",
        kind=int,
        minimum=24 * 3600,
        nullable=True,
    )
    REQUIRE_MIGRATED = Setting(False, "Refuse to serve while a migration is pending.")
    MAX_CONTENT_LENGTH = Setting(4 * 2**20, "Largest JSON body, unzipped.", unit="B", minimum=1024)
    TRUSTED_PROXIES = Setting(
        0, "Proxies in front whose X-Forwarded headers are believed.", minimum=0, maximum=16
    )
    ANONYMOUS_PERMISSIONS = Setting([], "Permissions of callers without credentials.", item=str)
    WEB_PROCESSES = Setting(2, "Processes that answer requests.", unit="processes", minimum=1, maximum=256)
    WEB_THREADS = Setting(
        8, "Requests that each of them answers at a time.", unit="threads", minimum=1, maximum=256
    )
    JOBS_THREADS = Setting(
        2, "Jobs that one worker process does at a time.", unit="threads", minimum=1, maximum=256
    )
    JOBS_POLL_INTERVAL = Setting(
        0.5, "How often an idle worker looks for jobs.", unit="s", minimum=0.01, maximum=60
    )
    JOBS_SWEEP_INTERVAL = Setting(
        2.0,
        "How often periodic jobs, and jobs nobody was told of, are looked for.",
        unit="s",
        minimum=0.1,
        maximum=60,
    )
    JOBS_GRACE = Setting(10.0, "How long a worker that stops waits for its jobs.", unit="s", minimum=0)
    JOBS_KEEP = Setting(30 * 24 * 3600, "How long finished jobs are kept.", unit="s", minimum=60)
    NOTIFICATIONS_KEEP = Setting(
        90 * 24 * 3600, "How long notifications that were read are kept.", unit="s", minimum=60
    )
    JOBS_BROKER_URL = Setting("", "Redis that tells Celery workers of new jobs; empty: none.", secret=True)
    STORAGE_URL = Setting(
        "file:blobs",
        "Where blobs are kept: file:<folder>, or s3://<bucket>/<prefix> of an S3-compatible store.",
        aliases=("VOLUME_PATH",),
    )
    STORAGE_RESERVE_BYTES = Setting(
        0,
        "Space that stays free in the blob folder; uploads that would go below are refused.",
        "B",
        minimum=0,
    )
    STORAGE_LINK_LIFE = Setting(24 * 3600, "How long a signed link to a blob is good.", "s", minimum=1)
    STORAGE_SWEEP_GRACE = Setting(
        48 * 3600,
        "How long a blob stays after nothing refers to it any more. Longer than links live, or they break.",
        "s",
        minimum=0,
    )
    STORAGE_VERIFY_BYTES = Setting(
        10 * 2**30,
        "How much of what is stored is read again each day, to find what has rotted; 0: nothing.",
        "B",
        minimum=0,
    )
    STORAGE_S3_ENDPOINT = Setting("", "Address of the S3-compatible store; empty: Amazon's.")
    STORAGE_S3_REGION = Setting("", "Region of the bucket; empty: as boto3 finds it.")
    STORAGE_S3_ACCESS_KEY = Setting("", "Access key; empty: as boto3 finds it.", secret=True)
    STORAGE_S3_SECRET_KEY = Setting("", "Secret of the access key.", secret=True)
    STORAGE_S3_REDIRECT = Setting(
        True,
        "Send downloads to the object store. Switch off if callers cannot reach it: the site passes them on.",
    )
    DEBUG = Setting(False, "Flask's development mode; never on a public site.", aliases=("FLASK_DEBUG",))
    TESTING = Setting(False, "Set by the test kit; there are no rate limits then.")
    LOG_LEVEL = Setting(
        "INFO", "Least severe line that is logged.", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )
    LOG_FORMAT = Setting("text", "Form of a log line.", choices=("text", "json"))
