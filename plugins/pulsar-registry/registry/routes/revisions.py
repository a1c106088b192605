"""``/api/package/<owner>/<name>/<hash>``: push a revision, or a part of one; install it."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, current_app, request

from core import storage
from core.blueprint import Blueprint
from core.identity import Identity, current_identity
from core.requests import body, public, query, require_permission, returns
from registry.manifest import Tree
from registry.permissions import RegistryPermissions as P
from registry.routes.callers import reader
from registry.routes.streams import iter_object, json_stream, quoted
from registry.serializers import InstallQuery, PushSchema
from registry.services import pushes, revisions, subpushes
from registry.services.pushes import Push
from registry.services.revisions import Installable

__all__ = ["bp"]

bp = Blueprint("revisions", __name__)


@bp.put("/api/package/<owner>/<name>/<digest>")
@require_permission(P.PUSH)
@body(PushSchema())
@returns(200, {"type": "object"}, "``upload_urls`` for a dry run; else ``package_url``, ``package_hash``.")
def push(owner: str, name: str, digest: str, data: dict[str, Any]) -> Any:
    """Push a revision, or ask with ``dry_run`` whether one could, and where its objects go.

    Every object must be here before the real push, sent through its link or in a pack; one that the
    caller has neither sent nor may read counts as missing. The answer to a push with missing
    or wrong-sized objects is 400, with the first hundred of them in ``objects``.
    """
    dry_run = data.pop("dry_run")
    asked = pushes.Push(owner, name, digest, **data)
    identity = current_identity()
    tree = pushes.check_push(identity, asked, dry_run=dry_run)
    if dry_run:
        return _upload_urls(identity, asked, tree)
    pushes.push(identity, asked, tree)
    return _pushed(asked, digest)


@bp.post("/api/package_update/<owner>/<name>/<path:path>")
@require_permission(P.PUSH)
@body(PushSchema())
@returns(200, {"type": "object"}, "``upload_urls`` for a dry run; else ``package_url``, ``package_hash``.")
def push_part(owner: str, name: str, path: str, data: dict[str, Any]) -> Any:
    """Push one node of a package: it is put into the tree of the tag ``latest``, which then names the result.

    The body is that of a push, with the node as ``contents`` and the sizes of its objects. Groups on the way
    are made, what was at the path is replaced. With ``dry_run`` the answer is where the objects go.
    """
    dry_run = data.pop("dry_run")
    path = path.strip("/")
    asked = pushes.Push(owner, name, "", subpath=path, **data)
    identity = current_identity()
    names = path.split("/")
    tree = subpushes.check_subpush(identity, asked, names, dry_run=dry_run)
    if dry_run:
        return _upload_urls(identity, asked, tree)
    return _pushed(asked, subpushes.subpush(identity, asked, names))


def _upload_urls(identity: Identity, asked: Push, tree: Tree) -> Response:
    pushes.check_room(identity, asked, tree)
    urls = pushes.iter_upload_urls(identity, tree.objects, asked.sizes)
    members = ((needed, f'{{"head":{quoted(head)},"put":{quoted(put)}}}') for needed, head, put in urls)
    return json_stream(_wrap(b'{"upload_urls":', iter_object(members)))


def _pushed(asked: Push, digest: str) -> dict[str, Any]:
    base = (current_app.config["PUBLIC_URL"] or request.url_root).rstrip("/")
    return {"package_url": f"{base}/packages/{asked.owner}/{asked.name}", "package_hash": digest}


@bp.get("/api/package/<owner>/<name>/<digest>")
@public
@query(InstallQuery())
@returns(200, {"type": "object"}, "``contents``, ``urls``, ``sizes``, and who made and updated it when.")
def get_revision(owner: str, name: str, digest: str, args: dict[str, Any]) -> Response:
    """Install: the whole tree as it was pushed, and links to its objects.

    With ``subpath`` only the objects below it, with ``meta_only`` only metadata; the metadata objects of
    the whole tree are always there.
    """
    found = revisions.get_revision(reader(), owner, name, digest, **args)
    answer = json_stream(_iter_answer(found))
    if found.tree is not None:
        answer.call_on_close(found.tree.close)
    return answer


def _iter_answer(found: Installable) -> Iterator[bytes]:
    links = storage.links()

    def make() -> Iterator[bytes]:
        yield json.dumps(found.times).encode()[:-1]
        yield b',"sizes":'
        yield from iter_object((digest, str(size)) for digest, size in found.sizes.items())
        yield b',"urls":'
        yield from iter_object((digest, quoted(links.download(digest))) for digest in found.sizes)
        yield b',"contents":'
        yield from found.iter_contents()
        yield b"}"

    return make()


def _wrap(start: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from pieces
    yield b"}"
