"""The arithmetic of the benchmarks, and that they measure what they say."""

import json
import subprocess
import sys
from urllib.request import urlopen

import pytest

from harness import (
    Measure,
    Ratio,
    Result,
    command,
    compare,
    family,
    measured,
    process,
    ratio,
    report,
    running_site,
)


def test_a_ratio_is_taken_round_by_round():
    # A disturbance that doubled the second round does not show.
    assert ratio([1.0, 2.0, 1.0], [1.5, 3.0, 1.5]) == Ratio(1.5, 1.5, 1.5)


def test_a_ratio_has_its_middle_and_its_ends():
    assert ratio([1, 1, 1, 1], [4, 1, 2, 3]) == Ratio(2.5, 1, 4)
    assert str(Ratio(2.5, 1, 4)) == "2.50 (1.00 to 4.00)"


@pytest.mark.parametrize(("references", "candidates"), [([], []), ([1], [1, 2]), ([0], [1]), ([-1], [1])])
def test_what_cannot_be_divided_is_refused(references, candidates):
    with pytest.raises(ValueError, match="one candidate for every reference"):
        ratio(references, candidates)


def test_the_two_sides_take_turns_after_a_warm_up(capsys):
    order = []
    result = compare(
        "x",
        lambda: order.append("A") or Measure(1, 2),
        lambda: order.append("B") or Measure(2, 1, 3 * 2**20),
        bar="2",
        rounds=3,
    )

    assert "".join(order) == "AB" + "ABABAB"
    assert (result.ratio("wall"), result.ratio("cpu")) == (Ratio(2, 2, 2), Ratio(0.5, 0.5, 0.5))
    printed = capsys.readouterr().out
    assert "3 rounds; bar: 2" in printed
    assert "wall  ratio 2.00 (2.00 to 2.00)" in printed
    assert "reference not measured   candidate 3 MiB" in printed


def test_no_round_begins_after_the_time_is_over():
    result = compare("x", lambda: Measure(1, 1), lambda: Measure(1, 1), bar="1", rounds=100, seconds=0)
    assert len(result.references) == len(result.candidates) == 1


def test_a_side_too_short_to_measure_is_said_to_be():
    lines = list(Result("x", "1", [Measure(1, 0)], [Measure(1, 0.1)]).lines())
    assert any("cpu   reference too short" in line for line in lines)


def test_a_command_is_charged_with_its_cpu_and_memory():
    spent = command(
        sys.executable, "-c", "import time\nblock = b'x' * 2**26\nwhile time.process_time() < 0.2: pass"
    )

    assert spent.cpu >= 0.2
    assert spent.peak_bytes > 2**26


def test_a_command_that_fails_is_not_a_measure():
    with pytest.raises(subprocess.CalledProcessError):
        command(sys.executable, "-c", "raise SystemExit(3)")


def test_an_action_without_a_measure_is_charged_with_this_process():
    assert measured(lambda: sum(range(10**6)) and None).cpu > 0


def test_a_family_is_a_process_with_its_children_and_theirs():
    sleeper = "import sys; sys.stdin.read()"
    middle = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {sleeper!r}])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", middle], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        grandchild = int(parent.stdout.readline())

        assert {member.pid for member in family(parent.pid)} == {parent.pid, grandchild}
        assert process(grandchild).parent == parent.pid
    assert process(grandchild) is None


def test_a_report_names_the_machine_and_keeps_the_numbers(tmp_path, monkeypatch, capsys):
    kept = tmp_path / "results" / "x.jsonl"
    monkeypatch.setattr(sys, "argv", ["bench_x.py", "--json", str(kept)])

    report(lambda: [Result("x", "1", [Measure(1, 1)], [Measure(2, 2)])])

    assert "SHA-256 in hardware" in capsys.readouterr().out
    line = json.loads(kept.read_text())
    assert line["results"][0]["candidates"] == [{"wall": 2, "cpu": 2, "peak_bytes": None}]
    assert "python" in line["machine"]


SITE = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
Path(os.environ["PULSAR_INSTANCE_PATH"]).mkdir()
print(os.environ["PULSAR_NOTE"], flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_site_runs_is_measured_and_is_gone_afterwards(tmp_path):
    with running_site(tmp_path, command=[sys.executable, "-c", SITE], PULSAR_NOTE="hello") as site:
        spent = site.measured(lambda: urlopen(f"{site.url}/health").close())

        assert spent.wall > 0
        assert spent.peak_bytes > 2**20
        assert site.cpu() > 0
        assert site.instance.is_dir()
    assert process(site.pid) is None
    assert "hello" in (tmp_path / "site.log").read_text()


def test_a_site_that_ends_at_once_is_explained(tmp_path):
    ending = [sys.executable, "-c", "raise SystemExit('no such table')"]
    with pytest.raises(RuntimeError, match="no such table"), running_site(tmp_path, command=ending):
        pass
