"""docs/quickstart.md, typed in as it stands."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quickstart.md"


def test_the_quickstart_works_as_written(start_site, tmp_path):
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert len(blocks) >= 8, "the quickstart has lost its blocks"
    site = start_site(fresh=True)
    work = tmp_path / "clone"
    work.mkdir()

    done = site.types("set -eo pipefail\n" + "\n".join(blocks), work)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not exist" in done.stderr, "the private package was refused in the server's words"
