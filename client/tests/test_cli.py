import json
import os
import re
import stat
import subprocess
import sys
import time

import pytest

from pulsar_client import cli
from pulsar_client.blobs import Fingerprint
from pulsar_client.console import make_one_line
from pulsar_client.statcache import is_settled


@pytest.fixture
def table(make_tree):
    return str(make_tree({"t.csv": b"a,b\n1,x\n"}) / "t.csv")


def run_process(arguments, home, **options):
    env = {**os.environ, "PULSAR_CLIENT_HOME": str(home)}
    env.pop("PULSAR_CLIENT_KEY", None)
    command = [sys.executable, "-c", "from pulsar_client.cli import main; main()", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, **options)


def test_the_main_job_from_login_to_export(site, pulsar, table, tmp_path):
    unset = {"PULSAR_CLIENT_URL": None, "PULSAR_CLIENT_KEY": None}
    assert pulsar("login", site.url, stdin=f"{site.key}\n", **unset)[0] == 0
    assert pulsar("whoami", **unset) == (0, "demo\n", "")
    status, out, err = pulsar("build", "demo/x", table, **unset)
    assert status == 0
    assert re.fullmatch(r"Built demo/x: 1 entries, \d+ B, 1 read\.\n", err)
    digest = out.strip()
    assert pulsar("push", "demo/x", **unset)[1] == "http://site/packages/demo/x\n"
    assert "already" in pulsar("push", "demo/x", **unset)[2]

    other = {**unset, "PULSAR_CLIENT_HOME": str(tmp_path / "other")}
    assert pulsar("login", site.url, stdin=site.key, **other)[0] == 0
    assert pulsar("pull", "demo/x", **other)[1] == f"{digest}\n"
    assert pulsar("ls", **other)[1] == f"demo/x  {digest[:12]}  1 entries\n"
    assert pulsar("verify", "demo/x", **other)[0] == 0
    assert pulsar("export", "demo/x", str(tmp_path / "out"), **other)[1] == "t.csv\n"
    assert (tmp_path / "out/t.csv").read_text() == '"a","b"\n1,"x"\n'
    assert pulsar("logout", **other)[0] == 0
    assert pulsar("whoami", **other)[0] == 1


def test_the_key_is_read_from_standard_input_and_kept_private(site, tmp_path):
    process = run_process(["login", site.url], tmp_path, input=f"{site.key}\n")

    assert (process.returncode, process.stdout) == (0, "")
    assert process.stderr == f"Logged in to {site.url} as demo.\n"
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert site.key not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(("key", "status"), [("wrong", 1), ("", 2), ("schlüssel", 2), ("a b\x07", 2)])
def test_a_key_that_is_not_taken_is_not_stored(pulsar, site, tmp_path, key, status):
    assert pulsar("login", site.url, stdin=key)[0] == status
    assert not (tmp_path / "home/credentials.json").exists()


def test_help_is_complete_and_quick_to_import(tmp_path):
    process = run_process(["--help"], tmp_path)
    assert process.returncode == 0
    assert all(name in process.stdout for name in cli.COMMANDS)
    assert list(tmp_path.iterdir()) == []  # Help makes no folders.

    code = "import sys; from pulsar_client.cli import COMMANDS, run; run(['--help']); "
    code += "[run([name, '--help']) for name in COMMANDS]; "
    code += "print(sorted({'pyarrow', 'requests', 'rich', 'sqlite3', 'pandas'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_help_text_with_an_example(pulsar, name):
    status, out, _ = pulsar(name, "--help")

    assert status == 0
    assert f"pulsar {name}" in out.split("Example")[1]
    assert cli.cli.get_command(None, name).get_short_help_str(200) == cli.COMMANDS[name]


def test_an_unchanged_build_loads_neither_pyarrow_nor_requests(pulsar, table, tmp_path):
    os.utime(table, (1, 1))
    while not is_settled(Fingerprint.of(os.stat(table)), time.time_ns()):
        pass  # what changed a moment ago is not remembered
    assert pulsar("build", "demo/x", table)[0] == 0
    code = "import sys; from pulsar_client.cli import run; run(sys.argv[1:]); "
    code += "print(sorted({'pyarrow', 'requests', 'rich'} & sys.modules.keys()))"
    env = {**os.environ, **pulsar.env}
    command = [sys.executable, "-c", code, "build", "demo/x", table]

    process = subprocess.run(command, env=env, capture_output=True, text=True, check=True)

    assert process.stdout.splitlines()[-1] == "[]"
    assert "0 read" in process.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["whoami", "--json"], 0),
        (["build", "demo/x", "{table}", "--json"], 0),
        (["push", "demo/x", "--json"], 0),
        (["install", "demo/x", "--json"], 0),
        (["ls", "--json"], 0),
        (["ls", "demo", "--json"], 0),
        (["log", "demo/x", "--json"], 0),
        (["access", "list", "demo/x", "--json"], 0),
        (["verify", "demo/x", "--json"], 0),
        (["export", "demo/x", "{out}", "--json"], 0),
        (["logout", "--json"], 0),
    ],
)
def test_json_goes_to_standard_output_and_nothing_else(pulsar, table, tmp_path, arguments, status):
    pulsar("build", "demo/x", table)
    pulsar("push", "demo/x")
    given = [argument.format(table=table, out=tmp_path / "out") for argument in arguments]

    found, out, err = pulsar(*given)

    assert (found, err) == (status, "")
    assert json.loads(out)


def test_access_is_shown_and_changed(pulsar, table):
    pulsar("build", "demo/x", table)
    pulsar("push", "demo/x", "--public", "-m", "text")

    assert pulsar("access", "add", "demo/x", "bob") == (0, "", "bob may read demo/x.\n")
    assert pulsar("access", "list", "demo/x") == (0, "demo\nbob\n", "")
    assert pulsar("access", "add", "demo/x", "bob") == (1, "", "pulsar: The user already has access\n")
    assert pulsar("access", "remove", "demo/x", "bob", "-q") == (0, "", "")
    assert pulsar("ls", "demo") == (0, "demo/x  public\n", "")
    assert "1970-01-01 00:00:01 UTC  demo  1.0" in pulsar("log", "demo/x")[1]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["bogus"], 2, "No such command"),
        (["build", "demo/x"], 2, "Missing argument"),
        (["build", "Demo/x", "{table}"], 2, "is not a package"),
        (["build", "demo/x", "nowhere"], 2, "does not exist"),
        (["push", "demo/x", "--public", "--team"], 2, "choose one"),
        (["push", "demo/none"], 1, "not in the local store"),
        (["install", "demo/none"], 1, "Package demo/none does not exist"),
        (["login", "ftp://x"], 2, "not the address of a site"),
    ],
)
def test_errors_are_one_line_and_an_exit_status(pulsar, table, arguments, status, words):
    pulsar("build", "demo/x", table)

    found, out, err = pulsar(*(argument.format(table=table) for argument in arguments), stdin="key")

    assert (found, out) == (status, "")
    assert words in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(pulsar):
    assert "Traceback" in pulsar("push", "demo/none", "--debug")[2]


def test_verify_fails_for_damaged_blobs(pulsar, table, tmp_path):
    pulsar("build", "demo/x", table)
    (blob,) = (tmp_path / "home/quilt_packages/objs").iterdir()
    blob.chmod(0o644)
    blob.write_bytes(b"flipped")

    status, out, err = pulsar("verify", "demo/x")

    assert (status, out) == (1, f"damaged {blob.name}\n")
    assert "1 blobs of demo/x" in err


def test_what_a_site_says_cannot_steer_the_terminal():
    assert make_one_line("a\x1b[2Jb\nc\x9bd\r") == "a [2Jb c d"


def test_a_reader_that_stops_is_no_traceback(pulsar, make_tree):
    pulsar("build", "demo/x", str(make_tree({f"{n:0200}": b"" for n in range(500)})))
    code = "import sys; from pulsar_client.cli import main; main()"
    command = [sys.executable, "-c", code, "export", "demo/x", str(make_tree({}, "out"))]
    reader, writer = os.pipe()
    os.close(reader)

    process = subprocess.run(
        command, env={**os.environ, **pulsar.env}, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)

    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "BrokenPipe" not in process.stderr


def test_a_damaged_package_does_not_hide_the_others(pulsar, table, tmp_path):
    for name in ("demo/x", "demo/y"):
        pulsar("build", name, table)
    digest = pulsar("ls", "--json")[1].split('"digest": "')[1][:64]
    (tmp_path / "home/quilt_packages/pkgs/Quilt/demo/x/contents" / digest).write_text("{")

    assert pulsar("ls") == (0, f"demo/x  {digest[:12]}  damaged\ndemo/y  {digest[:12]}  1 entries\n", "")
    assert pulsar("export", "demo/x", str(tmp_path / "out"))[0] == 1
