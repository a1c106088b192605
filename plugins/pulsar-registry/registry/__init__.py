"""pulsar-registry: versioned, deduplicated data packages.

It speaks the protocol of the Quilt 2 client at ``/api/...``, with calls of its own beside it for clients
that send and fetch many objects at once, and shows packages to people at ``/packages/<owner>/<name>``.
"""

from registry.config import Config
from registry.routes import bp
from registry.test_data import RegistryPopulator

__all__ = ["PLUGIN_API", "POPULATORS", "Config", "bp"]

PLUGIN_API = ">=1,<2"
POPULATORS = [RegistryPopulator]
