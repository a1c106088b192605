"""Where the client keeps its things, which site it talks to, and with which key.

An argument wins over the environment, the environment over what `pulsar login` stored:

    PULSAR_CLIENT_URL     the site
    PULSAR_CLIENT_KEY     the API key
    PULSAR_CLIENT_HOME    the folder with config.json, credentials.json and quilt_packages/
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pulsar_client.errors import ConfigurationError
from pulsar_client.files import hold_lock, write_atomically

DEFAULT_URL = "http://127.0.0.1:5000"  # where `make run` starts a site


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for this call."""

    home: Path
    url: str
    key: str | None


def load_settings(
    url: str | None = None,
    key: str | None = None,
    home: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from arguments, environment and the home folder, in this order.

    A stored key is used only with the URL it was stored for.

    :raises ConfigurationError: if a URL or a stored file is not usable.
    """
    folder = Path(home or environment.get("PULSAR_CLIENT_HOME") or _get_default_home(environment))
    folder = folder.expanduser().absolute()
    chosen = url or environment.get("PULSAR_CLIENT_URL") or _read(folder / "config.json").get("url")
    site = check_url(chosen or DEFAULT_URL)
    key = key or environment.get("PULSAR_CLIENT_KEY") or _find_key(folder, site)
    return Settings(folder, site, key)


def _get_default_home(environment: Mapping[str, str]) -> Path:
    data = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "pulsar"


def check_url(url: str) -> str:
    """The URL without a trailing slash.

    :raises ConfigurationError: if it is not ``http(s)://host[:port][/path]``.
    """
    try:
        parts = urlsplit(url)
        wrong = parts.port == 0
    except ValueError:
        wrong = True
    if wrong or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r} is not the address of a site: write https://host[:port].")
    if parts.username or parts.password:
        raise ConfigurationError("The address of a site must not hold a password; use `pulsar login`.")
    return url.rstrip("/")


def store_login(home: Path, url: str, username: str, key: str) -> None:
    """Remember the key for ``url`` (in a file that only its owner can read) and make it the default site."""
    home.mkdir(parents=True, exist_ok=True)
    with hold_lock(home / ".lock"):
        credentials = _read(home / "credentials.json")
        credentials[url] = {"username": username, "key": key}
        _write_credentials(home, credentials)
        config = _read(home / "config.json")
        config["url"] = url
        write_atomically(home / "config.json", _encode(config))


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


def _find_key(home: Path, url: str) -> str | None:
    entry = _read(home / "credentials.json").get(url)
    key = entry.get("key") if isinstance(entry, dict) else None
    return key if isinstance(key, str) else None


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
