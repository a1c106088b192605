"""What the benchmarks have in common: two things run in turn, and what their times say about each other.

A benchmark is a script ``bench_*.py`` whose ``main()`` hands :func:`report` a function that calls
:func:`compare` with a reference and a candidate. They run alternately, so that whatever else the machine
does falls on both, and only their ratio is quoted, with the versions and the machine beside it. Nothing
here is a test: a slow machine is not a fault. A site is measured through /proc, so :func:`running_site`
needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LIBRARIES = ("flask", "werkzeug", "sqlalchemy", "gunicorn", "pyarrow", "blake3", "pulsar-core")
SERVE = (sys.executable, "-m", "flask", "serve")
TICKS = os.sysconf("SC_CLK_TCK")  # per second, the unit of CPU time in /proc
GRACE = 40  # s for a site to stop; its requests and jobs have 30
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Measure:
    """What one run cost: seconds on the clock, seconds of CPU, and bytes of memory at the peak if known."""

    wall: float
    cpu: float
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Ratio:
    """Candidate divided by reference, round by round: the middle one, the least and the greatest."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.greatest:.2f})"


def ratio(references: Sequence[float], candidates: Sequence[float]) -> Ratio:
    """Divide pair by pair, so that a disturbance that lay on a whole round cancels out.

    :raises ValueError: if there are no pairs, if the numbers differ, or if a reference is not above zero.
    """
    if not references or len(references) != len(candidates) or min(references) <= 0:
        raise ValueError("one candidate for every reference, and every reference above zero")
    quotients = [candidate / reference for reference, candidate in zip(references, candidates, strict=True)]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))


@dataclass
class Result:
    """All rounds of one comparison."""

    name: str
    bar: str
    references: list[Measure] = field(default_factory=list)
    candidates: list[Measure] = field(default_factory=list)

    def ratio(self, what: str) -> Ratio:
        """Candidate over reference in ``wall`` or ``cpu``."""
        return ratio([getattr(m, what) for m in self.references], [getattr(m, what) for m in self.candidates])

    def lines(self) -> Iterator[str]:
        """The result as a person reads it."""
        yield f"{self.name} ({len(self.references)} rounds; bar: {self.bar})"
        for what in ("wall", "cpu"):
            references = [getattr(measure, what) for measure in self.references]
            seconds = statistics.median(getattr(measure, what) for measure in self.candidates)
            if min(references) > 0:
                yield f"  {what:4}  ratio {self.ratio(what)}"
                yield f"        reference {statistics.median(references):.3f} s   candidate {seconds:.3f} s"
            else:
                yield f"  {what:4}  reference too short to measure   candidate {seconds:.3f} s"
        if any(measure.peak_bytes for measure in self.references + self.candidates):
            yield f"  peak  reference {peak(self.references)}   candidate {peak(self.candidates)}"


def peak(measures: Sequence[Measure]) -> str:
    """The greatest memory of some runs, in words."""
    greatest = max((measure.peak_bytes or 0 for measure in measures), default=0)
    return f"{greatest / 2**20:.0f} MiB" if greatest else "not measured"


def children_cpu() -> float:
    """CPU seconds of this process and of all its children that have ended."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measured(action: Callable[[], Measure | None]) -> Measure:
    """Run an action once. One that measures itself, such as a command or a site, returns its own measure."""
    wall, cpu = time.perf_counter(), children_cpu()
    own = action()
    return own or Measure(time.perf_counter() - wall, children_cpu() - cpu)


def command(*arguments: str | Path, **options: Any) -> Measure:
    """Run a program to its end and say what it and the children it waited for have cost.

    The peak is never below this process's own memory, which the program's beginning shares for a moment.

    :param options: what ``subprocess.Popen`` takes, e.g. ``stdout`` or ``cwd``.
    :raises subprocess.CalledProcessError: if it fails; the time of a failure says nothing.
    """
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, arguments)), **options)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(map(str, arguments)))
    return Measure(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def together(*measures: Measure) -> Measure:
    """What several steps cost one after the other."""
    peaks = [measure.peak_bytes for measure in measures if measure.peak_bytes]
    wall, cpu = sum(measure.wall for measure in measures), sum(measure.cpu for measure in measures)
    return Measure(wall, cpu, max(peaks, default=None))


def compare(
    name: str,
    reference: Callable[[], Measure | None],
    candidate: Callable[[], Measure | None],
    *,
    bar: str,
    rounds: int = 5,
    seconds: float = 120,
) -> Result:
    """Run two actions in turn, after one round that does not count, and print how they compare.

    :param bar: what the ratio should be, in words; it is printed, never enforced.
    :param rounds: how often each of the two runs, at most.
    :param seconds: no new round begins after this long; the first counted one always runs.
    """
    result = Result(name, bar)
    reference()
    candidate()
    end = time.monotonic() + seconds
    for number in range(rounds):
        if number and time.monotonic() > end:
            break
        result.references.append(measured(reference))
        result.candidates.append(measured(candidate))
    print("\n".join(result.lines()), flush=True)
    return result


def machine() -> dict[str, str]:
    """The machine and the versions that a ratio was measured with."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    helped = {"sha_ni", "sha2"} & set(flags[1].split() if flags else ())
    installed = {library: version_of(library) for library in LIBRARIES}
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "SHA-256 in hardware": "yes" if helped else "no" if flags else "unknown",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{library: version for library, version in installed.items() if version},
    }


def version_of(library: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def report(benchmark: Callable[[], Sequence[Result]], description: str | None = None) -> None:
    """Print the machine, run a benchmark, and keep the numbers if ``--json FILE`` asks for them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="append the measures to FILE, one JSON line a run"
    )
    arguments = parser.parse_args()
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()), flush=True)
    results = benchmark()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        with arguments.json.open("a") as file:
            line = {
                "script": Path(sys.argv[0]).name,
                "machine": where,
                "results": [asdict(r) for r in results],
            }
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Process:
    """One process: CPU seconds, those of its ended children included, and bytes of memory at the peak."""

    pid: int
    parent: int
    cpu: float
    peak_bytes: int


def process(pid: int) -> Process | None:
    """What /proc says about a process, or None if it has ended."""
    try:
        # The command's name stands in brackets and may hold anything, so count from the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        peak = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(
        pid, int(fields[1]), sum(map(int, fields[11:15])) / TICKS, int(peak[1]) * 1024 if peak else 0
    )


def family(pid: int) -> list[Process]:
    """A process and all its descendants."""
    everyone = [found for path in Path("/proc").glob("[0-9]*") if (found := process(int(path.name)))]
    members = {pid}
    while more := {p.pid for p in everyone if p.parent in members} - members:
        members |= more
    return [p for p in everyone if p.pid in members]


@dataclass(frozen=True)
class Site:
    """A site that runs for a benchmark; ``environment`` is for commands that shall speak of it or to it."""

    url: str
    instance: Path
    pid: int
    environment: dict[str, str] = field(repr=False)

    def cpu(self) -> float:
        """CPU seconds of the server, its workers and the job worker so far."""
        return sum(p.cpu for p in family(self.pid))

    def peak_bytes(self) -> int:
        """Greatest memory that any one process of the site has held; shared pages make a sum meaningless."""
        return max((p.peak_bytes for p in family(self.pid)), default=0)

    def key(self, user: str = "admin") -> str:
        """A fresh API key; the first administrator is there from the start."""
        made = subprocess.run(
            [sys.executable, "-m", "flask", "admin", "key", user],
            cwd=ROOT, env=self.environment, text=True, capture_output=True, check=True,
        )  # fmt: skip
        return made.stdout.strip()

    def log(self) -> str:
        """What the site has printed so far: a line for each request, among others."""
        return self.instance.with_name("site.log").read_text(errors="replace")

    def client(self, *arguments: str | Path, **options: Any) -> Measure:
        """Run a program that speaks to the site: what it costs the two together, and its own peak of memory.

        :param options: as those of :func:`command`.
        """
        before = self.cpu()
        own = command(*arguments, **options)
        return Measure(own.wall, own.cpu + self.cpu() - before, own.peak_bytes)

    def measured(self, action: Callable[[], Any]) -> Measure:
        """Run an action and say what it has cost the site, not what it has cost this process."""
        wall, cpu = time.perf_counter(), self.cpu()
        action()
        return Measure(time.perf_counter() - wall, self.cpu() - cpu, self.peak_bytes())


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_site(folder: Path, *, command: Sequence[str] = SERVE, **settings: str) -> Iterator[Site]:
    """Start a fresh site of its own, wait until it answers, and stop it afterwards.

    :param folder: its instance, database and blobs come here, and what it prints, as ``site.log``.
    :param command: what starts it; it must listen on the environment's ``PORT`` and answer ``/health``.
    :param settings: further environment variables, e.g. ``PULSAR_PLUGINS``.
    :raises RuntimeError: if it ends, or does not answer within a minute; with the end of what it printed.
    """
    port = free_port()
    instance = folder / "instance"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULSAR_")}
    environment |= {"PULSAR_INSTANCE_PATH": str(instance), "HOST": "127.0.0.1", "PORT": str(port)}
    environment |= {"FLASK_APP": str(ROOT / "wsgi.py"), **settings}
    environment["PULSAR_CLIENT_URL"] = f"http://127.0.0.1:{port}"
    log = folder / "site.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        site = Site(f"http://127.0.0.1:{port}", instance, server.pid, environment)
        try:
            wait_until_it_answers(site, server, log)
            yield site
        finally:
            stop(server)


def wait_until_it_answers(
    site: Site, server: subprocess.Popen[bytes], log: Path, seconds: float = 60
) -> None:
    """Ask a site for its health until it says that it is well."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        # An answer of 503 and a refused connection are both exceptions, and both mean: not yet.
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{site.url}/health", timeout=5):
            return
        time.sleep(0.05)
    raise RuntimeError("The site does not answer. It said: " + log.read_text(errors="replace")[-2000:])


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask a site to end, and end it, with all it started, if it takes longer than its own grace."""
    members = family(server.pid)
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        server.wait()
