"""Where the client keeps its things, which site it talks to, and with which key.

An argument wins over the environment, the environment over what `pulsar login` stored:

    PULSAR_CLIENT_URL     the site
    PULSAR_CLIENT_KEY     the API key
    PULSAR_CLIENT_HOME    the folder with config.json, credentials.json and quilt_packages/
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pulsar_client.errors import ConfigurationError
from pulsar_client.files import hold_lock, write_atomically

DEFAULT_URL = "http://127.0.0.1:5000"  # where `make run` starts a site
ARGUMENT, DEFAULT = "argument", "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for this call.

    ``origins`` says where each of the three comes from: ``argument``, the name of an environment variable
    or of a file in the home folder, ``default``; None for a key that is not there.
    """

    home: Path
    url: str
    key: str | None = field(repr=False)
    origins: Mapping[str, str | None]
    username: str | None  # whom the stored key belongs to; None for a key from elsewhere


def load_settings(
    url: str | None = None,
    key: str | None = None,
    home: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from arguments, environment and the home folder, in this order.

    A stored key is used only with the URL it was stored for.

    :raises ConfigurationError: if a URL, a key or a stored file is not usable.
    """
    place, home_from = _choose(
        (home, ARGUMENT), (environment.get("PULSAR_CLIENT_HOME"), "PULSAR_CLIENT_HOME")
    )
    folder = Path(place or _get_default_home(environment)).expanduser().absolute()
    given = (url, ARGUMENT), (environment.get("PULSAR_CLIENT_URL"), "PULSAR_CLIENT_URL")
    chosen, url_from = _choose(*given)
    if chosen is None:
        chosen, url_from = _choose((_read(folder / "config.json").get("url"), "config.json"))
    site = check_url(chosen or DEFAULT_URL)
    username = None
    secret, key_from = _choose((key, ARGUMENT), (environment.get("PULSAR_CLIENT_KEY"), "PULSAR_CLIENT_KEY"))
    if secret is None and (login := find_login(folder, site)) is not None:
        (username, secret), key_from = login, "credentials.json"
    origins = {"home": home_from or DEFAULT, "url": url_from or DEFAULT, "key": key_from}
    return Settings(folder, site, check_key(secret) if secret else None, origins, username)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Which site, key and home folder are used, and where each comes from; see :class:`Settings`."""

    url: str
    url_from: str
    key: bool  # whether there is one
    key_from: str | None
    username: str | None
    home: str
    home_from: str


def describe_settings(settings: Settings) -> Configuration:
    """Settings without their secret."""
    origins = settings.origins
    return Configuration(
        url=settings.url,
        url_from=origins["url"] or DEFAULT,
        key=settings.key is not None,
        key_from=origins["key"],
        username=settings.username,
        home=str(settings.home),
        home_from=origins["home"] or DEFAULT,
    )


def _choose(*candidates: tuple[Any, str]) -> tuple[Any, str | None]:
    """The first candidate that is there, and where it comes from."""
    return next(((value, origin) for value, origin in candidates if value), (None, None))


def check_key(key: str) -> str:
    """The key without space around it; what :mod:`requests` would refuse it would also print.

    :raises ConfigurationError: without showing it, if it is no key.
    """
    key = key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigurationError("That is not an API key: it has characters no key has.")
    return key


def _get_default_home(environment: Mapping[str, str]) -> Path:
    data = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "pulsar"


def check_url(url: object) -> str:
    """The URL without a trailing slash.

    :raises ConfigurationError: if it is not ``http(s)://host[:port][/path]``.
    """
    text = url if isinstance(url, str) else ""
    if "@" in text:  # Before anything is shown.
        raise ConfigurationError("The address of a site must not hold a password; use `pulsar login`.")
    try:
        parts = urlsplit(text)
        wrong = parts.port == 0
    except ValueError:
        wrong = True
    if wrong or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r} is not the address of a site: write https://host[:port].")
    return text.rstrip("/")


def store_url(home: Path, url: str | None) -> None:
    """Make ``url`` the default site; with None, whatever was the default one is so no longer."""
    home.mkdir(parents=True, exist_ok=True)
    with hold_lock(home / ".lock"):
        _write_url(home, url)


def _write_url(home: Path, url: str | None) -> None:
    config = _read(home / "config.json")
    config.pop("url", None)
    if url is not None:
        config["url"] = url
    write_atomically(home / "config.json", _encode(config))


def store_login(home: Path, url: str, username: str, key: str) -> None:
    """Remember the key for ``url`` (in a file that only its owner can read) and make it the default site."""
    home.mkdir(parents=True, exist_ok=True)
    with hold_lock(home / ".lock"):
        credentials = _read(home / "credentials.json")
        credentials[url] = {"username": username, "key": key}
        _write_credentials(home, credentials)
        _write_url(home, url)


def forget_login(home: Path, url: str) -> bool:
    """Remove the stored key for ``url``; returns whether there was one."""
    if not (home / "credentials.json").exists():
        return False
    with hold_lock(home / ".lock"):
        credentials = _read(home / "credentials.json")
        found = credentials.pop(url, None) is not None
        if found:
            _write_credentials(home, credentials)
    return found


def _write_credentials(home: Path, credentials: dict[str, Any]) -> None:
    write_atomically(home / "credentials.json", _encode(credentials), mode=0o600)


def find_login(home: Path, url: str) -> tuple[str | None, str] | None:
    """User name and key that are stored for a site, or None."""
    entry = _read(home / "credentials.json").get(url)
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or not entry["key"]:
        return None
    username = entry.get("username")
    return username if isinstance(username, str) else None, entry["key"]


def _encode(data: dict[str, Any]) -> bytes:
    return json.dumps(data, indent=2, sort_keys=True).encode() + b"\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path} does not hold a JSON object.")
    return data
