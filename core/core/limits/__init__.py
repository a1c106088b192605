"""How often a caller may ask: see :mod:`core.limits.limiter`."""

from core.limits.addresses import network_of
from core.limits.limiter import Limiter

__all__ = ["Limiter", "network_of"]
