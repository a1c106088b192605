"""A site with several plugins, for what they do together."""

import cart
import registry
from core.conftest import *  # noqa: F403
from core.conftest import PLUGINS

PLUGINS.append(registry)
PLUGINS.append(cart)
