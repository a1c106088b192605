"""How the registry is asked: one module per noun."""

from core.blueprint import BARE, Blueprint
from registry.errors import format_error
from registry.routes import (
    access,
    activity,
    admin,
    capabilities,
    client_log,
    diffs,
    downloads,
    log,
    metadata,
    objects,
    packages,
    pages,
    previews,
    profile,
    revisions,
    roles,
    search,
    sign_in,
    site,
    statistics,
    tags,
    users,
    versions,
)

__all__ = ["bp"]

# At the root: the published client allows no path in the address of a registry.
bp = Blueprint(
    "registry",
    __name__,
    url_prefix="/",
    envelope=False,
    error_formatter=format_error,
    auth_schemes=("token", "bearer", BARE),
    owns=("api", "packages"),
    max_body_bytes="REGISTRY_MAX_BODY_BYTES",
    rate_limits="REGISTRY_RATE_LIMIT",
    cors="*",  # as the published registry does; a page gets what everyone gets, or brings a key
    cors_paths=("api",),
)

for module in (
    access,
    activity,
    admin,
    capabilities,
    client_log,
    diffs,
    downloads,
    log,
    metadata,
    objects,
    packages,
    pages,
    previews,
    profile,
    revisions,
    roles,
    search,
    sign_in,
    site,
    statistics,
    tags,
    users,
    versions,
):
    bp.register_blueprint(module.bp)
