"""A package to look at: ``user_one/demo``, whose bytes are really stored."""

from typing import Any, Final

from core import storage
from core.identity import identity_of
from core.test_data import TestDataPopulator
from core.users import services
from registry.manifest import find_objects, top_hash
from registry.services import pushes, tags

__all__ = ["FILES", "RegistryPopulator"]

FILES: Final = {
    "README.md": b"# Demo\n\nTemperatures of one morning, in degrees Celsius.\n",
    "temperatures.csv": b"hour,celsius\n6,11.5\n7,12.25\n8,14\n9,17.5\n",
}


class RegistryPopulator(TestDataPopulator):
    """One private package of user 1, with the tag ``latest``."""

    @classmethod
    def populate(cls) -> None:
        identity = identity_of(services.get_user(1))
        stored = storage.store().put_many([(None, len(b), b) for b in FILES.values()], user_id=1)
        digests = [one.sha256 for one in stored]
        children = {
            name.partition(".")[0]: _leaf(name, digest) for name, digest in zip(FILES, digests, strict=True)
        }
        contents = {"type": "ROOT", "children": children}
        sizes = {digest: len(b) for digest, b in zip(digests, FILES.values(), strict=True)}
        push = pushes.Push("user_one", "demo", top_hash(contents), contents, sizes, "A first look.")
        pushes.push(identity, push, find_objects(contents))
        tags.set_tag(identity, push.owner, push.name, "latest", push.digest)


def _leaf(name: str, digest: str) -> dict[str, Any]:
    metadata = {"q_ext": name.rpartition(".")[2], "q_path": name, "q_target": "file"}
    return {"type": "FILE", "hashes": [digest], "metadata": metadata}
