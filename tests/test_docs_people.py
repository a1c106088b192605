"""docs/api/users.md, invites.md and notifications.md: every command of theirs, typed in as it stands."""

import re
import sys
from pathlib import Path

API = Path(__file__).resolve().parents[1] / "docs" / "api"
COMMANDS = re.compile(r"^    (.*)$", re.M)
PREPARE = """
from core.app import create_app
from core.db import db
from core.notifications import notify
from core.users import services

with create_app().app_context():
    services.create_user("ann", "correct horse 1!", "ann@example.org", class_name="Administrator")
    ann = services.find_user("ann")
    ann.invites = 2
    assert notify(ann.id, "registry_news", {"text": "hello"}).id == 1
    db.session.commit()
"""


def test_the_calls_for_people_work_as_written(start_site, tmp_path):
    site = start_site()
    prepared = site.run(sys.executable, "-c", PREPARE)
    assert prepared.returncode == 0, prepared.stderr
    pages = [
        (API / name).read_text(encoding="utf-8") for name in ("users.md", "invites.md", "notifications.md")
    ]
    commands = "\n".join("\n".join(COMMANDS.findall(page)) for page in pages)
    assert commands.count("curl ") >= 12, "the pages have lost their commands"
    script = 'set -euo pipefail\ncurl() { command curl --fail-with-body -w "\\n" "$@"; }\n' + commands

    done = site.types(script, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"response":{"username": "bob"}' in done.stdout
    assert '"contents": {"text": "hello"}' in done.stdout
    assert "All notifications cleared." in done.stdout
