"""docs/quickstart.md, typed in as it stands."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_quickstart_works_as_written(start_site, tmp_path):
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S)
    assert len(blocks) >= 8, "the quickstart has lost its blocks"
    site = start_site(fresh=True)
    work = tmp_path / "clone"
    work.mkdir()
    (work / "wsgi.py").write_text((ROOT / "wsgi.py").read_text(encoding="utf-8"), encoding="utf-8")
    script = "set -eo pipefail\n" + "\n".join(blocks).replace("http://127.0.0.1:5000", site.url)

    done = subprocess.run(
        ["bash", "-c", script], cwd=work, env=site.environment, text=True, capture_output=True, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not exist" in done.stderr, "the private package was refused in the server's words"
