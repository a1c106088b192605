"""What every plugin stands on: accounts, permissions, storage, jobs and the plugin contract."""

