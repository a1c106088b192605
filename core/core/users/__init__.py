"""Accounts: users, their class, their API keys."""
