"""The calls of the registry protocol, one function each, with answers checked and typed.

Here the wire's words (hash, object) become ours (digest, blob).
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import requests

from pulsar_client.errors import Conflict, ManifestError, NotFound, ProtocolError, Unauthenticated
from pulsar_client.handles import Handle, quote_part
from pulsar_client.http import Body, Http
from pulsar_client.manifest import Group, is_digest, parse
from pulsar_client.packs import make_heads, read_heads

MAX_PACK_BYTES = 64 << 20  # B that we send or ask for at once, whatever the site would take
MAX_PACKED_BLOB_BYTES = 4 << 20  # B; one such blob is held in memory


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the site can do beyond Quilt's protocol."""

    plain: bool  # a Quilt 2 registry: nothing of the below
    features: frozenset[str] = frozenset()
    missing_blobs: int = 1000  # digests in one question
    pack_bytes: int = 0
    packed_blob_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Remote:
    """A revision as the site describes it."""

    root: Group
    sizes: dict[str, int]
    urls: dict[str, str]


@dataclass(frozen=True, slots=True)
class Tag:
    """What a tag names."""

    digest: str
    is_complete: bool  # False: the site knows that it lacks blobs of it; a site that does not say lacks none


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One push."""

    digest: str
    created_at: float  # seconds since the epoch
    author: str
    tags: list[str]
    versions: list[str]
    message: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)  # any JSON; see docs/client.md
    entry: str | None = None  # hash of this entry, which covers that of the one before
    number: int | None = None  # of the revision, by which clients of Pacifica ask for it


class Registry:
    """A site, as far as packages are concerned."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self._capabilities: Capabilities | None = None

    def get_user(self) -> dict[str, Any]:
        """The person whose key is used, as core describes him: ``id``, ``username`` ...

        A plain Quilt registry knows only the name.
        """
        try:
            user: dict[str, Any] = _expect(self.http.get_json("GET", "/users/me"), "response", dict)
        except NotFound:
            return {"username": _expect(self.http.get_json("GET", "/api/me"), "current_user", str)}
        _expect(user, "username", str)
        return user

    def find_key_kind(self) -> str:
        """What is used to ask: ``key``, which a user made, or ``access``, ``session`` ... of a sign-in.

        A plain Quilt registry has tokens of a sign-in only.
        """
        try:
            answer = self.http.get_json("GET", "/api_keys/current")
        except NotFound:
            return "access"
        kind: str = _expect(_expect(_expect(answer, "response", dict), "key", dict), "kind", str)
        return kind

    def revoke_key(self) -> None:
        """End what is used to ask, and whatever signed in with it."""
        try:
            self.http.get_json("POST", "/api/logout")
        except Unauthenticated as error:
            if not error.repeated:  # Otherwise the first attempt has ended it.
                raise

    def get_capabilities(self) -> Capabilities:
        """Asked once; a plain Quilt registry is recognised by its 404."""
        if self._capabilities is None:
            try:
                self._capabilities = _parse_capabilities(self.http.get_json("GET", "/api/capabilities"))
            except NotFound:
                self._capabilities = Capabilities(plain=True)
        return self._capabilities

    # Blobs

    def list_missing(self, sizes: Mapping[str, int], package: Handle) -> dict[str, str]:
        """The blobs that have to be sent, each with the signed URL for those too large for a pack.

        :param package: what they are for.
        :raises TooLarge: if its owner's quota has no room for what is new among them.
        """
        site = self.get_capabilities()
        most = site.packed_blob_bytes if "heads" in site.features else -1
        small = {digest: size for digest, size in sizes.items() if size <= most}
        large = {digest: size for digest, size in sizes.items() if size > most}
        missing: dict[str, str] = {}
        more: dict[str, Any] = {"package": package.package} if self._has_quotas() else {}
        for questions, ask in ((small, self._ask_heads), (large, self._ask_links)):
            for asked in _cut(questions, site.missing_blobs):
                part, added = ask(asked, more)
                if not part.keys() <= asked.keys():
                    raise ProtocolError("The site misses blobs that it was not asked about.")
                missing.update(part)
                if added is not None:
                    more["added_bytes"] = added
        return missing

    def _ask_heads(
        self, asked: Mapping[str, int], more: Mapping[str, Any]
    ) -> tuple[dict[str, str], int | None]:
        """Without links, which for small blobs are larger than the rest of the question and the answer."""
        content, headers = self.http.get_bytes(
            "POST", "/api/objects/heads", body=make_heads(asked), headers=_BYTES_HEADERS, query=more
        )
        added = headers.get("X-Added-Bytes")
        if added is not None and not (added.isascii() and added.isdecimal() and len(added) < 20):
            raise ProtocolError("The site's answer has no number of added bytes.")
        return dict.fromkeys(read_heads(content), ""), None if added is None else int(added)

    def _ask_links(
        self, asked: Mapping[str, int], more: Mapping[str, Any]
    ) -> tuple[dict[str, str], int | None]:
        answer = self._send("POST", "/api/objects/missing", {"objects": asked, **more})
        part: dict[str, str] = _expect(answer, "missing", dict)
        if not all(isinstance(url, str) for url in part.values()):
            raise ProtocolError("The site sent URLs that are not allowed.")
        return part, _expect(answer, "added_bytes", int) if "added_bytes" in answer else None

    def send_pack(self, body: Body, package: Handle) -> None:
        """Send small blobs of ``package``; when this returns they are stored for good."""
        query = {"package": package.package} if self._has_quotas() else None
        self.http.get_json("POST", "/api/objects/pack", body=body, headers=_BYTES_HEADERS, query=query)

    def _has_quotas(self) -> bool:
        return "quota" in self.get_capabilities().features

    def open_pack(self, digests: Sequence[str]) -> requests.Response:
        """The stream of a pack with the blobs asked for."""
        return self.http.open(
            "POST", "/api/objects/fetch", body=_encode({"objects": list(digests)}), headers=_JSON_HEADERS
        )

    # Packages

    def put_package(
        self,
        package: Handle,
        digest: str,
        tree: bytes,
        sizes: Mapping[str, int],
        *,
        dry_run: bool = False,
        public: bool = False,
        team: bool = False,
        description: str = "",
        more: Mapping[str, Any] = MappingProxyType({}),
        zipped: bool = True,
    ) -> dict[str, Any]:
        """Push the tree of a revision; the blobs must be there unless ``dry_run``.

        :param tree: JSON, which goes as it is.
        :param more: further keys of the body, of features that the site has: ``tag``, ``message`` ...
        :param zipped: send it compressed, which costs more than it saves on a fast line.
        """
        about = {"dry_run": dry_run, "is_public": public, "is_team": team, "description": description}
        rest = json.dumps({**about, "sizes": sizes, **more}, separators=(",", ":")).encode()
        body = b'{"contents":%b,%b' % (tree, rest[1:])
        headers = _JSON_HEADERS if zipped else {"Content-Type": "application/json"}
        path = f"/api/package/{package.package}/{digest}"
        answer = self.http.get_json("PUT", path, body=_zip(body) if zipped else body, headers=headers)
        if not isinstance(answer, dict):
            raise ProtocolError("The site did not say what became of the package.")
        return answer

    def get_package(self, package: Handle, digest: str) -> Remote:
        """The tree of a revision, and the sizes and URLs of the blobs below ``package.path``."""
        path = f"/api/package/{package.package}/{digest}"
        query = {"subpath": "/".join(package.path)} if package.path else None
        answer = self.http.get_json("GET", path, query=query)
        try:
            root = parse(_expect(answer, "contents", dict))
        except ManifestError as error:
            raise ProtocolError(f"The site sent a tree that is not allowed: {error}") from error
        sizes, urls = _expect(answer, "sizes", dict), _expect(answer, "urls", dict)
        if not all(is_digest(name) and type(size) is int and size >= 0 for name, size in sizes.items()):
            raise ProtocolError("The site sent sizes that are not allowed.")
        if not all(isinstance(url, str) for url in urls.values()):
            raise ProtocolError("The site sent URLs that are not allowed.")
        return Remote(root, sizes, urls)

    def list_packages(self, owner: str) -> list[dict[str, Any]]:
        """``{"name", "is_public", "is_team"}`` of what this user may see, by name."""
        answer = self.http.get_json("GET", f"/api/package/{owner}/")
        packages: list[dict[str, Any]] = _expect(answer, "packages", list)
        for package in packages:
            _expect(package, "name", str)
        return packages

    def search(self, words: str, limit: int) -> list[dict[str, Any]]:
        """The packages that match, best first."""
        answer = self.http.get_json("GET", "/api/search/", query={"q": words, "limit": str(limit)})
        packages: list[dict[str, Any]] = _expect(answer, "packages", list)
        for package in packages:
            _expect(package, "owner", str)
            _expect(package, "name", str)
        return packages

    def list_log(self, package: Handle) -> list[LogEntry]:
        """All pushes, oldest first."""
        answer = self.http.get_json("GET", f"/api/log/{package.package}/")
        return [_parse_log_entry(entry) for entry in _expect(answer, "logs", list)]

    def get_tag(self, package: Handle, tag: str, *, complete: bool = False) -> Tag:
        """What a tag names.

        :param complete: ask whether the site has all of it.
        :raises NotFound: if there is no such tag, or no such package for this user.
        """
        path = f"/api/tag/{package.package}/{quote_part(tag, 'tag')}"
        answer = self.http.get_json("GET", path, query={"complete": "true"} if complete else None)
        digest: str = _expect(answer, "hash", str)
        if not is_digest(digest):
            raise ProtocolError(f"The site's tag {tag!r} does not name a revision.")
        return Tag(digest, answer.get("complete") is not False)

    def put_tag(self, package: Handle, tag: str, digest: str) -> None:
        """Create or move a tag."""
        self._send("PUT", f"/api/tag/{package.package}/{quote_part(tag, 'tag')}", {"hash": digest})

    def list_tags(self, package: Handle) -> dict[str, str]:
        """Tag → top digest, by tag."""
        return _parse_names(self.http.get_json("GET", f"/api/tag/{package.package}/"), "tag")

    def remove_tag(self, package: Handle, tag: str) -> None:
        """:raises NotFound: if there is none."""
        self._delete(f"/api/tag/{package.package}/{quote_part(tag, 'tag')}")

    def get_version(self, package: Handle, version: str) -> str:
        """The top digest of a version; any spelling of an equal one will do."""
        answer = self.http.get_json("GET", f"/api/version/{package.package}/{quote_part(version, 'version')}")
        digest: str = _expect(answer, "hash", str)
        if not is_digest(digest):
            raise ProtocolError(f"The site's version {version!r} does not name a revision.")
        return digest

    def list_versions(self, package: Handle) -> dict[str, str]:
        """Version → top digest, in the order of PEP 440."""
        return _parse_names(self.http.get_json("GET", f"/api/version/{package.package}/"), "version")

    def put_version(self, package: Handle, version: str, digest: str) -> None:
        """Name a revision for good. :raises Conflict: if there is an equal version."""
        path = f"/api/version/{package.package}/{quote_part(version, 'version')}"
        try:
            self._send("PUT", path, {"hash": digest})
        except Conflict as error:
            if not error.repeated or self.get_version(package, version) != digest:
                raise

    def delete_package(self, package: Handle) -> None:
        """Delete a package with all that belongs to it. :raises NotFound: if there is none."""
        self._delete(f"/api/package/{package.package}/")

    # Access

    def list_access(self, package: Handle) -> list[str]:
        """Who may read: names of users, and ``public`` or ``team``."""
        users = _expect(self.http.get_json("GET", f"/api/access/{package.package}/"), "users", list)
        return [str(user) for user in users]

    def add_access(self, package: Handle, user: str) -> None:
        """Let ``user`` read."""
        try:
            self._send("PUT", f"/api/access/{package.package}/{quote_part(user, 'user')}", {})
        except Conflict as error:
            if not error.repeated:  # Otherwise the first attempt has done it.
                raise

    def remove_access(self, package: Handle, user: str) -> None:
        """Let ``user`` no longer read."""
        self._delete(f"/api/access/{package.package}/{quote_part(user, 'user')}")

    def list_roles(self, package: Handle) -> list[dict[str, Any]]:
        """``{"audience", "name", "role"}`` of all whom the package is shared with."""
        roles: list[dict[str, Any]] = _expect(
            self.http.get_json("GET", f"/api/roles/{package.package}/"), "roles", list
        )
        for role in roles:
            _expect(role, "audience", str)
            _expect(role, "role", str)
        return roles

    def set_role(self, package: Handle, audience: str, name: str | None, role: str | None) -> None:
        """Give a role instead of the one before; None takes it away."""
        try:
            self._send(
                "PUT", f"/api/roles/{package.package}/", {"audience": audience, "name": name, "role": role}
            )
        except NotFound as error:
            if role is not None or not error.repeated:  # Otherwise the first attempt has taken it.
                raise

    def _delete(self, path: str) -> None:
        try:
            self.http.get_json("DELETE", path)
        except NotFound as error:
            if not error.repeated:  # Otherwise the first attempt has removed it.
                raise

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        return self.http.get_json(method, path, body=_encode(body), headers=_JSON_HEADERS)


_BYTES_HEADERS = {"Content-Type": "application/octet-stream"}
_JSON_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


def _encode(body: Mapping[str, Any]) -> bytes:
    return _zip(json.dumps(body, separators=(",", ":")).encode())


def _cut(sizes: Mapping[str, int], limit: int) -> Iterator[dict[str, int]]:
    items = list(sizes.items())
    return (dict(items[start : start + limit]) for start in range(0, len(items), limit))


def _zip(body: bytes) -> bytes:
    # Digests do not compress well, names do; a higher level costs more than it saves.
    return gzip.compress(body, compresslevel=1, mtime=0)


def _expect(answer: object, key: str, kind: type) -> Any:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise ProtocolError(f"The site's answer has no usable {key!r}.")
    return value


def _get_limit(limits: Mapping[str, Any], name: str, ours: int) -> int:
    value = limits.get(name)
    if type(value) is not int or value < 1:
        raise ProtocolError(f"The site's limit {name!r} is not a number above zero.")
    return min(value, ours)


def _parse_capabilities(answer: object) -> Capabilities:
    features = frozenset(str(feature) for feature in _expect(answer, "features", list))
    limits = _expect(answer, "limits", dict)
    if "missing" not in features or "pack" not in features:
        return Capabilities(plain=True, features=features)
    return Capabilities(
        plain=False,
        features=features,
        missing_blobs=_get_limit(limits, "missing_objects", 100_000),
        pack_bytes=_get_limit(limits, "pack_bytes", MAX_PACK_BYTES),
        packed_blob_bytes=_get_limit(limits, "pack_object_bytes", MAX_PACKED_BLOB_BYTES),
    )


def is_time(value: object) -> bool:
    """Whether it can be shown as a moment: seconds since the epoch, before the year 10000."""
    return type(value) in (int, float) and 0 <= value < 253_402_300_800  # type: ignore[operator]


def _parse_names(answer: object, kind: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for entry in _expect(answer, f"{kind}s", list):
        name, digest = _expect(entry, kind, str), _expect(entry, "hash", str)
        if not is_digest(digest):
            raise ProtocolError(f"The site's {kind} {name[:64]!r} does not name a revision.")
        names[name] = digest
    return names


def _parse_log_entry(entry: object) -> LogEntry:
    created = entry.get("created") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(created, int | float) or not is_time(created):
        raise ProtocolError("The site's log has an entry without a time.")
    digest = _expect(entry, "hash", str)
    provenance, hashed, number = entry.get("provenance"), entry.get("entry"), entry.get("number")
    return LogEntry(
        digest,
        float(created),
        str(entry.get("author")),
        _texts(entry, "tags"),
        _texts(entry, "versions"),
        str(entry.get("message") or ""),
        provenance if isinstance(provenance, dict) else {},
        hashed if isinstance(hashed, str) else None,
        number if isinstance(number, int) and not isinstance(number, bool) else None,
    )


def _texts(entry: Mapping[str, Any], key: str) -> list[str]:
    values = entry.get(key)
    if values is not None and not isinstance(values, list):
        raise ProtocolError(f"The site's log has an entry with no usable {key!r}.")
    return [str(value) for value in values or []]
