"""The commands of core: ``flask plugin``, ``flask config``, ``flask admin`` and others.

They are announced as entry points, so they work even when the app cannot be made.
"""
