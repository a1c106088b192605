"""Jobs to try, and workers in processes of their own."""

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from forked import Forked

from core.app import Pulsar
from core.db import db, own_transaction
from core.jobs import Job, JobKind, collect, enqueue
from core.site import site_of

PATIENCE = 60.0  # s; far more than anything here takes, even on a machine that is busy
NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
BROKER = "redis://127.0.0.1:6379/9"
APP = Path(__file__).parent / "probe_app.py"


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """``wait_for(condition)``: its first true value; the test fails if there is none in time."""

    def wait(condition: Callable[[], Any], what: str = "the condition") -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            if time.monotonic() > deadline:
                pytest.fail(f"waited {PATIENCE:g} s in vain for {what}")
            threading.Event().wait(0.02)
        return found

    return wait


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def probe() -> ModuleType:
    """The module of ``probe_app.py``, as this process sees it."""
    spec = importlib.util.spec_from_file_location("probe_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kinds(app: Pulsar, clean_database: None, probe: ModuleType) -> Iterator[dict[str, JobKind]]:
    """The kinds of job the app knows; those added are forgotten after the test."""
    known = site_of(app).job_kinds
    before = dict(known)
    known.update(collect(probe))
    yield known
    known.clear()
    known.update(before)


@pytest.fixture
def make_kind(kinds: dict[str, JobKind]) -> Callable[..., JobKind]:
    """``make_kind(function, **options)``: a kind of job that the app knows."""

    def make(run: Callable[..., Any], **options: Any) -> JobKind:
        kind = JobKind(f"probe.kind-{len(kinds)}", run, **options)
        kinds[kind.name] = kind
        return kind

    return make


@pytest.fixture
def make_job(kinds: dict[str, JobKind]) -> Callable[..., int]:
    """``make_job(kind, **as_enqueue)``: the id of a stored job."""

    def make(kind: JobKind | str, **options: Any) -> int:
        job_id = enqueue(kind, **options).id
        db.session.commit()
        return job_id

    return make


@pytest.fixture
def row(app: Pulsar) -> Callable[[int], Job]:
    """``row(id)``: a copy of the job as it is stored now."""

    def read(job_id: int) -> Job:
        with own_transaction() as session:
            found = session.get_one(Job, job_id)
            session.expunge(found)
            return found

    return read


@dataclass
class Process:
    """A worker in a process of its own, and in a process group with its children."""

    process: Forked
    log: Path

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """As the machine would: no chance to put anything in order."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):  # it has just begun, and has no group yet
                self.send(signal.SIGKILL)
            self.process.kill()
        self.wait()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def read(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def says(self, text: str) -> bool:
        return text in self.read()


@pytest.fixture
def start_worker(
    app: Pulsar, kinds: dict[str, JobKind], database: str, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """``start_worker("--drain", JOBS_THREADS=1)``: ``flask jobs work`` on the database of the test."""
    started: list[Process] = []

    def start(*arguments: str, command: str = "work", **settings: Any) -> Process:
        instance = tmp_path / f"instance-{len(started)}"
        instance.mkdir()
        values = {"SECRET_KEY": "for tests", "SQLALCHEMY_DATABASE_URI": database, "JOBS_POLL_INTERVAL": 0.05}
        values |= {"JOBS_SWEEP_INTERVAL": 0.2, "JOBS_THREADS": 1} | settings
        lines = [f"{name} = {value!r}\n" for name, value in values.items()]
        (instance / "config.py").write_text("".join(lines), encoding="utf-8")
        log = instance / "log"
        log.touch()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PULSAR_", "FLASK_", "COV_"))}
        process = Forked(
            ["--app", str(APP), "jobs", command, *arguments],
            cwd=instance,
            env=environment | {"PULSAR_INSTANCE_PATH": str(instance)},
            output=log,
        )
        started.append(Process(process, log))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def lines_of(tmp_path: Path) -> Callable[[str], list[str]]:
    """``lines_of("begun")``: what the jobs have noted in that file."""

    def read(name: str) -> list[str]:
        path = tmp_path / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    return read


@pytest.fixture
def broker() -> str:
    """Address of a Redis that answers; the test is skipped if there is none."""
    client = redis.Redis.from_url(BROKER, socket_connect_timeout=2)
    try:
        client.ping()
    except redis.RedisError as exc:
        pytest.skip(f"redis does not answer: {exc}")
    return BROKER
