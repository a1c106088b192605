"""``/api/package_preview/...``: a revision in few words."""

from typing import Any

from core import storage
from core.blueprint import Blueprint
from core.requests import public, returns
from registry.routes.callers import reader
from registry.services import previews

__all__ = ["bp"]

bp = Blueprint("previews", __name__)


@bp.get("/api/package_preview/<owner>/<name>/<digest>")
@public
@returns(200, {"type": "object"}, "``preview``, the readme, sizes and types of files.")
def get_preview(owner: str, name: str, digest: str) -> dict[str, Any]:
    """The top of the tree, the readme, how large it all is; for catalogues.

    ``preview`` is a list of ``[name, children or null]``: by name, ten of a group, four levels of them;
    ``["...", null]`` stands for the rest.
    """
    found = previews.get_preview(reader(), owner, name, digest)
    readme = found.pop("readme")
    return found | {"readme_url": None if readme is None else storage.links().download(readme)}
