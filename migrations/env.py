"""Alembic runs this file for every command. What it does is in core, where it is tested."""

from core.migrations import environment

environment.run()
