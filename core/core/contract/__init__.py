"""Whether a plugin keeps the contract that ``docs/plugins`` describes: ``flask plugin check``."""

from core.contract.check import check_plugin, check_plugin_called
from core.contract.findings import Finding
from core.contract.loaded import list_unguarded

__all__ = ["Finding", "check_plugin", "check_plugin_called", "list_unguarded"]
