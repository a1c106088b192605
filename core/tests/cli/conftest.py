"""The configuration of an instance."""

import pytest


@pytest.fixture
def config(tmp_path):
    """``config("PLUGINS = []")``: writes the configuration of the instance; the file."""
    path = tmp_path / "instance" / "config.py"
    path.parent.mkdir()

    def write(text=""):
        path.write_text(f"SECRET_KEY = 'x'  # of the test\n{text}\n", encoding="utf-8")
        path.chmod(0o640)
        return path

    return write
