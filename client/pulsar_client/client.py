"""The Python interface: everything that the ``pulsar`` command does, for scripts and notebooks."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pulsar_client import build as building
from pulsar_client import collecting, removal
from pulsar_client import verify as verifying
from pulsar_client.build import BuildResult
from pulsar_client.collecting import CollectResult
from pulsar_client.errors import ConfigurationError, NotInstalled, StoreError
from pulsar_client.handles import OPEN_TO_QUILT, Handle, is_owner, parse_audience, parse_handle
from pulsar_client.jobs import Jobs
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Leaf, find_node, walk
from pulsar_client.names import Tags, Versions
from pulsar_client.nodes import GroupNode, LeafNode, make_node
from pulsar_client.progress import NoProgress, Progress
from pulsar_client.removal import RemoveResult
from pulsar_client.settings import (
    Configuration,
    check_url,
    describe_settings,
    load_settings,
    store_login,
    store_url,
)
from pulsar_client.store import Store
from pulsar_client.verify import VerifyResult

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from pulsar_client import carts as carting
    from pulsar_client import checking, comparison, http, inspection, links, registry, revisions, signing
    from pulsar_client import export as exporting
    from pulsar_client import generate as generating
    from pulsar_client import install as installing
    from pulsar_client import push as pushing
    from pulsar_client import requirements as requiring
    from pulsar_client.carts import Carts
    from pulsar_client.checking import CheckResult
    from pulsar_client.comparison import Comparison
    from pulsar_client.export import ExportResult
    from pulsar_client.generate import GenerateResult
    from pulsar_client.inspection import Inspection
    from pulsar_client.install import InstallResult
    from pulsar_client.push import PushResult
    from pulsar_client.registry import LogEntry, Registry
    from pulsar_client.signing import LogoutResult
else:
    carting = LazyModule("pulsar_client.carts")
    checking = LazyModule("pulsar_client.checking")
    comparison = LazyModule("pulsar_client.comparison")
    exporting = LazyModule("pulsar_client.export")
    generating = LazyModule("pulsar_client.generate")
    http = LazyModule("pulsar_client.http")
    inspection = LazyModule("pulsar_client.inspection")
    links = LazyModule("pulsar_client.links")
    installing = LazyModule("pulsar_client.install")
    pushing = LazyModule("pulsar_client.push")
    registry = LazyModule("pulsar_client.registry")
    requiring = LazyModule("pulsar_client.requirements")
    revisions = LazyModule("pulsar_client.revisions")
    signing = LazyModule("pulsar_client.signing")

P = ParamSpec("P")
T = TypeVar("T")


def _holding_blobs(
    method: "Callable[Concatenate[Client, P], T]",
) -> "Callable[Concatenate[Client, P], T]":
    """For what relies on blobs that no tree names yet, or no more: keeps `gc` waiting, in any process."""

    @functools.wraps(method)
    def run(self: "Client", /, *args: P.args, **options: P.kwargs) -> T:
        with self.store.hold(self._progress):
            return method(self, *args, **options)

    return run


@dataclass(frozen=True, slots=True)
class LocalPackage:
    """A package of the local store."""

    package: str
    digest: str  # of the latest revision
    entries: int | None  # None: its tree is damaged


class Client:
    """One site and one local store.

    ``url``, ``key`` and ``home`` default to the environment and to what ``pulsar login`` stored; see
    :mod:`pulsar_client.settings`. Nothing is opened or asked until it is needed. Packages are written
    ``"owner/name"``, parts of them ``"owner/name/sub/path"``.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        home: str | os.PathLike[str] | None = None,
        *,
        progress: Progress | None = None,
        transport: "BaseAdapter | None" = None,
        backoff: float | None = None,
    ) -> None:
        """:param progress: told how far long work is.

        :param transport: answers instead of the network, as in ``requests``.
        :param backoff: seconds before the first retry; doubled for each further one.
        """
        self.settings = load_settings(url, key, home)
        self.access = Access(self)
        self.tags = Tags(self)
        self.versions = Versions(self)
        self.jobs = Jobs(self)
        self._progress = progress or NoProgress()
        self._transport = transport
        self._backoff = backoff

    @cached_property
    def store(self) -> Store:
        """The local store."""
        return Store(self.settings.home)

    @cached_property
    def carts(self) -> "Carts":
        """Carts on the site."""
        return carting.Carts(lambda: self.registry.http, self._progress)

    @cached_property
    def registry(self) -> "Registry":
        """The calls of the site."""
        return self._make_registry(self.settings.key)

    def _make_registry(self, key: str | None, **options: Any) -> "Registry":
        if self._backoff is not None:
            options["backoff"] = self._backoff
        return registry.Registry(
            http.Http(self.settings.url, key, transport=self._transport, progress=self._progress, **options)
        )

    def close(self) -> None:
        """Close the connections to the site, if there are any."""
        if "registry" in self.__dict__:
            self.registry.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def login(self) -> str:
        """Check the key with the site, store it in the home folder, and return the user's name.

        :raises ConfigurationError: if there is no key.
        :raises Unauthenticated: if the site does not take it; nothing is stored then.
        """
        if not self.settings.key:
            raise ConfigurationError("There is no key to log in with.")
        username: str = self.registry.get_user()["username"]
        store_login(self.settings.home, self.settings.url, username, self.settings.key)
        return username

    def logout(self, *, revoke: bool = False) -> "LogoutResult":
        """Forget the stored key of this site. What signing in has made ends; a key that you made stays valid.

        :param revoke: end such a key too.
        :raises PulsarError: if it shall end and the site does not say that it did; it is kept here then.
        """
        return signing.log_out(self.settings.home, self.settings.url, self._make_registry, revoke=revoke)

    def config(self) -> Configuration:
        """Which site, key and home folder are used, and where that comes from; never the key itself."""
        return describe_settings(self.settings)

    def set_url(self, url: str | None) -> None:
        """Store the site to use where neither argument nor environment name one; None for the usual one.

        This client stays with its own.
        """
        store_url(self.settings.home, None if url is None else check_url(url))

    def whoami(self) -> dict[str, Any]:
        """The user whose key is used."""
        return self.registry.get_user()

    @_holding_blobs
    def build(
        self,
        package: str,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        raw: bool = False,
        command: Sequence[str] = (),
        outside: bool = False,
        allow_python: bool = False,
    ) -> BuildResult:
        """Make a revision from files, one folder, or a build file. CSV and TSV become tables unless ``raw``.

        :param package: with a path, only that part of the local ``latest`` is replaced.
        :param outside: let a build file read files that are not in its own folder.
        :param allow_python: run checks of a build file that are Python code.
        :param command: how you made it, if that can be said by a command; a push tells it to the site.
        """
        listed = [paths] if isinstance(paths, str | os.PathLike) else paths
        return building.build(
            self.store,
            parse_handle(package, with_path=True),
            [Path(path) for path in listed],
            raw=raw,
            command=command,
            progress=self._progress,
            outside=outside,
            allow_python=allow_python,
        )

    def generate(self, folder: str | os.PathLike[str]) -> "GenerateResult":
        """Write a first ``build.yml`` into a folder."""
        return generating.generate(Path(folder))

    def check(
        self,
        file: str | os.PathLike[str] = "build.yml",
        *,
        outside: bool = False,
        allow_python: bool = False,
    ) -> "CheckResult":
        """Run the checks of a build file on its files as they are now; nothing is kept."""
        return checking.check(
            self.store, Path(file), outside=outside, allow_python=allow_python, progress=self._progress
        )

    @_holding_blobs
    def push(
        self,
        package: str,
        *,
        public: bool = False,
        team: bool = False,
        description: str = "",
        message: str = "",
        tag: str = "latest",
        expect: str | None = None,
        provenance: bool = True,
        digest: str | None = None,
    ) -> "PushResult":
        """Send the latest local revision to the site; from the same moment on ``tag`` names it there.

        :param description: what the package is.
        :param message: what this revision is; the site's log shows it.
        :param expect: the digest (or its first 6 or more characters) that ``tag`` must name until then, or
            ``"none"`` if there must be no such tag. Otherwise nothing is pushed.
        :param provenance: also tell how the revision was built: command, Git commit, the revision before.
        :param digest: another local revision, by its digest or 6 or more characters of it.
        :raises Conflict: if ``tag`` does not name what you expect.
        """
        return pushing.push(
            self.store,
            self.registry,
            parse_handle(package),
            public=public,
            team=team,
            description=description,
            message=message,
            tag=tag,
            expect=expect,
            provenance=provenance,
            digest=digest,
            progress=self._progress,
        )

    @_holding_blobs
    def install(
        self,
        package: str,
        *,
        digest: str | None = None,
        tag: str | None = None,
        version: str | None = None,
        where: Mapping[str, str] | None = None,
    ) -> "InstallResult":
        """Fetch a revision from the site: ``latest``, another ``tag``, a ``version``, or a (shortened)
        ``digest``.

        :param where: fetch the data of those entries only whose metadata have these values, by key.
        """
        return installing.install(
            self.store,
            self.registry,
            parse_handle(package, with_path=True),
            digest=digest,
            tag=tag,
            version=version,
            where=where,
            progress=self._progress,
        )

    def install_all(self, requirements: str | None = None) -> "list[InstallResult]":
        """Install what a list says, one after the other.

        :param requirements: ``"@FILE"``, the text of such a file, one package with or without a revision
            (``"demo/x:tag:reviewed"``), or None for ``quilt.yml``. See ``docs/client.md``.
        :raises ConfigurationError: before anything is installed, if one of them is not a package.
        """
        wanted = requiring.read_requirements(requirements)
        return [self.install(one.package, **one.revision) for one in wanted]

    def export(
        self,
        package: str,
        folder: str | os.PathLike[str] = ".",
        *,
        parquet: bool = False,
        force: bool = False,
    ) -> "ExportResult":
        """Write the entries of the latest local revision as ordinary files."""
        return exporting.export(
            self.store,
            parse_handle(package, with_path=True),
            Path(folder),
            parquet=parquet,
            force=force,
            progress=self._progress,
        )

    def load(self, package: str) -> GroupNode | LeafNode:
        """The latest local revision, or a part of it, as lazy nodes."""
        handle = parse_handle(package, with_path=True)
        root = self.store.get_tree(handle, self.store.get_latest(handle))
        node = find_node(root, handle.path)
        if node is None:
            raise NotInstalled(f"{handle.package} has no entry {'/'.join(handle.path)!r}.")
        return make_node(self.store, package, node)

    def inspect(
        self,
        package: str,
        *,
        digest: str | None = None,
        tag: str | None = None,
        version: str | None = None,
    ) -> "Inspection":
        """What is in the latest local revision, or in the one with this (shortened) ``digest``, or in a part.

        With ``tag`` or ``version``, or a digest that is not here, of a revision of the site, of which
        nothing but metadata is fetched; there it counts as an install.
        """
        handle = parse_handle(package, with_path=True)
        if tag is None and version is None:
            try:
                here = self.store.find_revision(handle, digest) if digest else self.store.get_latest(handle)
                return inspection.inspect_local(self.store, handle, here)
            except NotInstalled:
                if digest is None:
                    raise
        wanted = revisions.find_revision(self.registry, handle, digest=digest, tag=tag, version=version)
        with self.store.hold(self._progress):
            return inspection.inspect_remote(self.store, self.registry, handle, wanted, self._progress)

    def ls(self, owner: str | None = None) -> "list[LocalPackage] | list[dict[str, Any]]":
        """:meth:`list_local`, or with an owner :meth:`list_remote`: what the command of this name prints."""
        return self.list_local() if owner is None else self.list_remote(owner)

    def list_local(self) -> "list[LocalPackage]":
        """The packages of the local store, by name."""
        found = [self._find(package) for package in self.store.list_packages()]
        return [package for package in found if package is not None]

    def list_remote(self, owner: str) -> "list[dict[str, Any]]":
        """``{"name", "is_public", "is_team"}`` of those of ``owner`` that the site lets you see."""
        if not is_owner(owner):
            raise ConfigurationError(f"{owner!r} cannot be the name of a user.")
        return self.registry.list_packages(owner)

    def _find(self, package: Handle) -> LocalPackage | None:
        """None if another process has just removed it."""
        digest = self.store.find_latest(package)
        if digest is None:
            return None
        try:
            tree = self.store.get_tree(package, digest)
        except StoreError:
            return LocalPackage(package.package, digest, None)
        return LocalPackage(package.package, digest, sum(isinstance(node, Leaf) for _, node in walk(tree)))

    def log(self, package: str) -> "list[LogEntry]":
        """All pushes of a package on the site, newest first."""
        return self.registry.list_log(parse_handle(package))[::-1]

    def search(self, words: str, *, limit: int = 100) -> "list[dict[str, Any]]":
        """``{"owner", "name", "is_public", "is_team", "readme_preview", "rank"}`` of what the site finds."""
        return self.registry.search(words, limit)

    def diff(self, package: str, old: str, new: str = "latest") -> "Comparison":
        """What differs between two revisions on the site: tags, versions, or (shortened) digests."""
        return comparison.compare(self.registry.http, parse_handle(package), old, new)

    def find_link(self, entry: str, *, revision: str = "latest", fragment: int | None = None) -> str:
        """A link to ``owner/name/sub/path`` on the site, good without a key until it ends."""
        handle = parse_handle(entry, with_path=True)
        return links.find_link(self.registry.http, handle, revision, fragment)

    def delete(self, package: str) -> None:
        """Delete a package on the site with all its revisions; what is here stays.

        :raises NotFound: if there is none, or none that you may see.
        """
        self.registry.delete_package(parse_handle(package))

    @_holding_blobs
    def verify(self, package: str, *, digest: str | None = None) -> VerifyResult:
        """Hash the blobs of the latest local revision, or of the one with this (shortened) ``digest``, again.

        Damaged ones are taken out of the store.
        """
        return verifying.verify(self.store, parse_handle(package), digest=digest, progress=self._progress)

    @_holding_blobs
    def verify_all(self) -> list[VerifyResult]:
        """:meth:`verify` for all local packages, by name; what they share is read once."""
        return verifying.verify_all(self.store, self.store.list_packages(), progress=self._progress)

    @_holding_blobs
    def rm(self, package: str, *, digest: str | None = None) -> RemoveResult:
        """Forget all local revisions of a package, or an older one by its (shortened) ``digest``.

        Their blobs stay until :meth:`gc`; what the site has stays too.
        """
        return removal.remove(self.store, parse_handle(package), digest=digest)

    def gc(self, *, grace: float = collecting.GRACE, dry_run: bool = False) -> CollectResult:
        """Remove from the local store what no revision needs; waits for builds and installs in other
        processes.

        :param grace: seconds that something must be old, so that interrupted work can be gone on with.
        :param dry_run: only say what would go.
        :raises StoreError: if a tree cannot be read; nothing is removed then.
        """
        return collecting.collect(self.store, grace=grace, dry_run=dry_run, progress=self._progress)


class Access:
    """Who may do what with a package.

    Somebody is the name of a user, ``"public"`` for everyone, ``"team"`` for all who are logged in, or
    ``"class:NAME"`` or ``"secondary_class:NAME"`` for the users of a class.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, package: str) -> list[str]:
        """Users, ``public`` and ``team`` if they may read it, as the site orders them."""
        return self._client.registry.list_access(parse_handle(package))

    def list_roles(self, package: str) -> Sequence[dict[str, Any]]:
        """``{"audience", "name", "role"}`` of all whom it is shared with; for those who manage it."""
        return self._client.registry.list_roles(parse_handle(package))

    def add(self, package: str, user: str, role: str | None = None) -> None:
        """Share with somebody.

        :param role: ``read``, ``write`` (push and tag, too) or ``manage`` (all that the owner may), instead
            of the one before; by default users, public and team get what Quilt's client gives them.
        :raises Conflict: without a role, if it is shared already.
        """
        handle, (audience, name) = parse_handle(package), parse_audience(user)
        if role is None and audience in OPEN_TO_QUILT:
            self._client.registry.add_access(handle, user)
        else:
            self._client.registry.set_role(handle, audience, name, role or "read")

    def remove(self, package: str, user: str) -> None:
        """Share no longer. :raises NotFound: if it was not shared."""
        handle, (audience, name) = parse_handle(package), parse_audience(user)
        if audience in OPEN_TO_QUILT:
            self._client.registry.remove_access(handle, user)
        else:
            self._client.registry.set_role(handle, audience, name, None)


def load(package: str) -> GroupNode | LeafNode:
    """``Client().load(package)``: a package of the default local store as lazy nodes."""
    return Client().load(package)
