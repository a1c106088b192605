"""Settings of the registry. Each limit protects memory or time; what goes beyond gets a 4xx that says so."""

from core.config import Setting
from core.settings import check_limit

__all__ = ["Config"]


class Config:
    """Settings of the registry."""

    REGISTRY_ALLOW_PUBLIC = Setting(
        False,
        "Whether packages may be shared with the public, and be read without a login.",
        aliases=("ALLOW_ANONYMOUS_ACCESS",),
    )
    REGISTRY_ALLOW_TEAM = Setting(
        True,
        "Whether packages may be shared with everyone who is logged in, who may then push to them.",
        aliases=("ALLOW_TEAM_ACCESS",),
    )
    REGISTRY_MAX_BODY_BYTES = Setting(
        100 * 2**20, "Largest JSON body, unzipped; 100,000 entries take about 25 MB.", "B", minimum=2**16
    )
    REGISTRY_MAX_DEPTH = Setting(
        100, "Groups inside groups in a tree. JSON itself ends at a few hundred.", minimum=4, maximum=150
    )
    REGISTRY_MAX_OBJECT_BYTES = Setting(
        5 * 2**30, "Largest object that is sent by a link.", "B", minimum=2**20
    )
    REGISTRY_QUOTA_BYTES = Setting(
        None,
        "How many bytes all packages of one owner may need, each object counted once; None: any number.",
        "B",
        kind=int,
        minimum=0,
        nullable=True,
    )
    REGISTRY_PROVENANCE_BYTES = Setting(
        2**16, "Largest provenance of a push, as JSON. The log answers with all of them.", "B", minimum=0
    )
    REGISTRY_MISSING_OBJECTS = Setting(
        10_000, "Objects in one call of /api/objects/missing or /api/objects/fetch.", "objects", minimum=1
    )
    REGISTRY_RATE_LIMIT = Setting(
        (6000, 60),
        "Calls of one user, or of one address without credentials, in so many seconds; None for no limit."
        " Twenty threads that get each answer in 0.2 s make as many.",
        "requests, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    REGISTRY_PACK_BYTES = Setting(256 * 2**20, "Largest body of /api/objects/pack.", "B", minimum=2**20)
    REGISTRY_PACK_OBJECT_BYTES = Setting(
        2**20, "Largest object in a pack; each is held in memory.", "B", minimum=2**10
    )
