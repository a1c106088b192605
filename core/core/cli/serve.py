"""``flask serve``: prepare the instance, then run the web server and the worker until told to stop."""

import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

import click
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger as GunicornLogger
from sqlalchemy import select

from core import listeners
from core.app import Pulsar, create_app
from core.cli.config import write_config
from core.cli.groups import Command
from core.cli.jobs import work_until_stopped
from core.config import ConfigError, find_instance_path
from core.db import db
from core.jobs.worker import Worker
from core.migrations.errors import one_line
from core.migrations.operations import upgrade_all
from core.users import services
from core.users.models import User

__all__ = ["answer_requests", "serve"]

FIRST_ADMIN: Final = "admin"
GRACE: Final = 30  # s that a request or a job has to end when the site is stopped
START_LIMIT: Final = 60  # s until the first answer; then something is wrong
RESTART_PAUSE: Final = 2.0  # s before a worker that died is started again
POLL: Final = 0.2  # s between two looks at the children
KEEP_ALIVE: Final = 15  # s that an idle connection is kept for the next request
PR_SET_PDEATHSIG: Final = 1  # prctl(2): the signal a process gets when its parent is gone

NEXT_STEPS: Final = """
pulsar answers at {url}
  {url}/health          is everything working?
  {url}/api/spec.html   every call, to try in the browser

To try next, in another terminal in this folder:
  export PULSAR_INSTANCE_PATH={instance} PULSAR_CLIENT_URL={url}
  export PULSAR_CLIENT_KEY=$(.venv/bin/flask admin key {admin})
  .venv/bin/pulsar build {admin}/hello README.md && .venv/bin/pulsar push {admin}/hello

Ctrl-C stops the site."""


@click.command(cls=Command)
@click.option("--host", envvar="HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", envvar="PORT", default=5000, show_default=True, help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Start the site: web server and worker together, until Ctrl-C.

    Writes a configuration with fresh secrets if there is none, upgrades the database, and makes the first
    administrator if there is no user. Everything it writes lies in the instance folder.

    \b
        flask serve
        PULSAR_INSTANCE_PATH=/srv/lab flask serve --port 8000
    """
    instance = find_instance_path()
    if not (instance / "config.py").exists():
        write_config(instance / "config.py")
        click.echo(f"wrote {instance / 'config.py'} with fresh secrets")
    _refuse_taken_port(host, port)
    app = create_app()
    with app.app_context():
        admin = _prepare_database(instance)
    _run(app, host, port, admin)


@one_line
def _prepare_database(instance: Path) -> str:
    """Bring the database up to date; the name of a user for the examples."""
    upgrade_all()
    name = _first_administrator(instance)
    listeners.wait()  # their thread would not be in the children
    db.session.close()
    db.engine.dispose()  # a connection must not be shared with the children
    return name


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {exc.strerror}. Choose another PORT"
            ) from None


def _first_administrator(instance: Path) -> str:
    """Make an administrator if there is no user yet.

    :returns: a name to use in examples: the first user's.
    """
    first = db.session.scalar(select(User.username).order_by(User.id).limit(1))
    if first is not None:
        return first
    password = services.make_password()
    user = services.create_user(
        FIRST_ADMIN, password, "admin@localhost.invalid", class_name=services.administrators().name
    )
    path = instance / services.FIRST_ADMIN_FILE
    # The file before the row: a crash in between leaves a useless file, not an account nobody can enter.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"username: {FIRST_ADMIN}\npassword: {password}\n")
    db.session.commit()
    click.echo(f"\nFirst administrator: {user.username}\nPassword:            {password}\n(also in {path})")
    return FIRST_ADMIN


def _run(app: Pulsar, host: str, port: int, admin: str) -> None:
    """Run both processes until a signal comes or the web server ends."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    # What the app is made of stays: the collector need not look at it whenever a request is large.
    gc.freeze()
    web = _fork(answer_requests, app, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    worker = _fork(_work, app)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        if _answers(url, web, stop):
            click.echo(NEXT_STEPS.format(url=url, admin=admin, instance=app.instance_path))
        while web.is_alive() and not stop.wait(POLL):
            if not worker.is_alive():
                click.echo(f"the worker ended with status {worker.exitcode}; starting another", err=True)
                stop.wait(RESTART_PAUSE)
                worker = _fork(_work, app)
    finally:
        _stop(web, worker)
    if not stop.is_set():
        raise click.ClickException(f"the web server ended with status {web.exitcode}")


class _Web(BaseApplication):  # type: ignore[misc]
    """gunicorn, answering with an app that is made already."""

    def __init__(self, app: Flask, options: Mapping[str, Any]) -> None:
        self.app, self.options = app, options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self.app


class _Log(GunicornLogger):  # type: ignore[misc] # gunicorn has no types
    """What gunicorn has to say goes where the site's own lines go, and looks like them."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def answer_requests(app: Flask, bind: str) -> None:
    """Run the web server until a signal ends it; gunicorn writes no access log, for the site has its own."""
    options = {
        "bind": bind,
        "worker_class": "gthread",
        "workers": app.config["WEB_PROCESSES"],
        "threads": app.config["WEB_THREADS"],
        "keepalive": KEEP_ALIVE,
        "graceful_timeout": GRACE,
        "loglevel": "warning",
        "logger_class": _Log,
        "control_socket_disable": True,  # it would lie in the home folder, one for all sites of a user
        "forwarded_allow_ips": "",  # by itself it believes this machine; TRUSTED_PROXIES says whom
    }
    _Web(app, options).run()


def _work(app: Pulsar) -> None:
    with app.app_context():
        work_until_stopped(Worker(app))


def _fork(target: Callable[..., None], app: Pulsar, *arguments: str) -> ForkProcess:
    """Run ``target(app, ...)`` in a child. It starts at once: what took long, making the app, is done."""
    process = get_context("fork").Process(target=_as_child, args=(target, app, *arguments))
    process.start()
    return process


def _as_child(target: Callable[..., None], app: Pulsar, *arguments: str) -> None:
    os.setsid()  # Ctrl-C in a terminal reaches the parent alone, which then stops its children
    if sys.platform == "linux":
        # When the parent is killed the child shall end too, and not keep the port.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    target(app, *arguments)


def _answers(url: str, web: ForkProcess, stop: threading.Event) -> bool:
    """Wait for the first answer. False if the server ends, or the site is stopped, before it."""
    deadline = time.monotonic() + START_LIMIT
    while web.is_alive() and not stop.is_set() and time.monotonic() < deadline:
        try:
            urlopen(f"{url}/health", timeout=POLL * 10).close()  # noqa: S310 - our own address
        except HTTPError:
            return True  # it answers, and says what is wrong
        except OSError:
            stop.wait(POLL)
        else:
            return True
    return False


def _stop(*children: ForkProcess) -> None:
    """Let the children end what they are doing, but not for ever."""
    for child in children:
        if child.is_alive():
            child.terminate()
    deadline = time.monotonic() + GRACE + POLL
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
