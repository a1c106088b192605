"""One module per command, each with a ``command``; imported by :mod:`pulsar_client.cli` when it runs."""
