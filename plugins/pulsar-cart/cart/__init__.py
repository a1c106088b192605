"""pulsar-cart: lists of files become one download.

It speaks the protocol of Pacifica's cart daemon, with calls of its own beside it, and takes files from
wherever a plugin of the site offers them by the hook ``cart_sources``.
"""

from cart.config import Config
from cart.routes import bp

__all__ = ["PLUGIN_API", "Config", "bp"]

PLUGIN_API = ">=1,<2"
