"""docs/reading.md and docs/api/registry.md, done as they say, on a running site with a worker."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLES = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
COMMANDS = re.compile(r"^    (.*)$", re.M)
ROWS = 2000


def test_the_pages_about_reading_work_as_written(start_site, wait_until, tmp_path):
    site = start_site()
    admin = site.person("admin", tmp_path / "home")
    table = tmp_path / "flights.csv"
    table.write_text("a,b\n" + "".join(f"{n},x{n}\n" for n in range(ROWS)))
    admin.does("build", "admin/flights", table)
    admin.does("push", "admin/flights")

    tables_are_read_in_place(site, admin)
    a_link_needs_no_key(admin)
    revisions_are_compared(admin, table, wait_until)
    calls_work(site, tmp_path)


def tables_are_read_in_place(site, admin):
    examples = EXAMPLES.findall((DOCS / "reading.md").read_text(encoding="utf-8"))
    assert len(examples) == 6, "the page has lost its examples"
    given = f"""
site_url, key = {site.url!r}, {admin.key!r}
url = site_url + "/api/object/admin/flights/flights.csv"
"""
    script = given + "\nprint('---')\n".join(examples).replace("demo/", "admin/")

    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, timeout=120)

    assert done.returncode == 0, done.stderr
    pyarrow, duckdb, polars, pandas, less, parts = done.stdout.split("---\n")
    everything, most = sum(range(ROWS)), sum(range(2, ROWS))
    assert pyarrow == f"['a', 'b'] {ROWS}\n"
    assert duckdb == f"[({ROWS - 2}, {most})]\n"
    assert str(most) in polars
    assert (pandas, less, parts) == (f"{everything}\n", f"{everything}\n", f"{ROWS}\n")


def a_link_needs_no_key(admin):
    link = admin.does("url", "admin/flights/flights.csv").strip()
    with urlopen(Request(link, headers={"Range": "bytes=0-3"}), timeout=10) as answer:
        assert (answer.status, answer.read()) == (206, b"PAR1")


def revisions_are_compared(admin, table, wait_until):
    first = json.loads(admin.does("log", "admin/flights", "--json"))[0]["digest"]
    table.write_text("a,c\n5,1\n")
    admin.does("build", "admin/flights", table)
    admin.does("push", "admin/flights")

    def compared():
        (change,) = json.loads(admin.does("diff", "admin/flights", first[:8], "--json"))["changes"]
        return change["table"]

    wait_until(compared)  # until a worker has looked at both tables
    assert compared()["rows"] == [ROWS, 1]
    (line,) = admin.does("diff", "admin/flights", first).splitlines()
    told = r"~ flights\.csv  \S+ kB -> .*  2000 -> 1 rows, \+c \(int64\), -b \(string\)"
    assert re.fullmatch(told, line), line


def calls_work(site, folder):
    key = site.key_of_new_user("ann")
    text = FENCED.sub("", (DOCS / "api" / "registry.md").read_text(encoding="utf-8"))
    commands = "\n".join(line for line in COMMANDS.findall(text) if not line.startswith(("SITE=", "AUTH=")))
    assert commands.count("curl ") >= 20, "the page has lost its commands"
    script = f"""
set -euo pipefail
SITE={site.url}
AUTH="Authorization: Bearer {key}"
curl() {{ command curl --fail-with-body -w "\\n" "$@"; }}
"""

    done = subprocess.run(
        ["bash", "-c", script + commands], cwd=folder, text=True, capture_output=True, timeout=120
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"package_hash"' in done.stdout
