"""What every plugin stands on: accounts, permissions, storage, jobs and the plugin contract.

A plugin author may use the modules of this package without a leading underscore and, in them, the
names in ``__all__``. Everything else can change at any time.
"""

from core.hookspecs import hookimpl, hookspec

__version__ = "0.1.0"
__all__ = ["hookimpl", "hookspec"]
