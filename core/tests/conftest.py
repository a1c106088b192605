"""Throw-away plugins, and the ``flask`` command as a user types it."""

import gc
import importlib
import json
import os
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from flask.cli import cli

from core.app import create_app
from core.conftest import CHEAP_ARGON2, _add_base_data, _empty_tables
from core.db import Base, db


@pytest.fixture
def make_plugin(tmp_path, monkeypatch):
    """``make_plugin("probe", init="...", routes="...")``: an installed distribution with these modules."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    made, before = set(), set(Base.metadata.tables)

    def make(name, init="", *, version="0.1", **modules):
        package = folder / name
        package.mkdir()
        made.add(name)
        for module, text in {"__init__": init, **modules}.items():
            (package / f"{module}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        _write_info(folder, name, version)
        importlib.invalidate_caches()
        return package

    yield make
    for module in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[module]
    # Those of core are made when its first app is, which may be here, and stay.
    if added := {name for name in Base.metadata.tables if not name.startswith("core_")} - before:
        gc.collect()  # the classes of its models, which SQLAlchemy holds weakly
        for name in added:
            Base.metadata.remove(Base.metadata.tables[name])


def _write_info(folder, name, version):
    info = folder / f"pulsar_{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: pulsar-{name}\nVersion: {version}\nSummary: The {name} of a test\n"
    )
    (info / "entry_points.txt").write_text(f"[pulsar.plugins]\n{name} = {name}\n")


@pytest.fixture
def make_site(tmp_path):
    """``make_site("probe")``: an app with these plugins and the tables of all of them, in SQLite."""

    made = []

    def make(*plugins, tables=False, **settings):
        instance = tmp_path / "site"
        instance.mkdir(exist_ok=True)
        (instance / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n", encoding="utf-8")
        app = create_app(instance, PLUGINS=list(plugins), TESTING=True, **settings)
        made.append(app)
        if tables:
            with app.app_context():
                Base.metadata.create_all(db.engine)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.session.rollback()
            db.engine.dispose()


@pytest.fixture(scope="session")
def sample_distribution(tmp_path_factory):
    """A folder that announces the package ``sample`` beside this file; imported once, as it has a table."""
    folder = tmp_path_factory.mktemp("sample")
    _write_info(folder, "sample", "0.1")
    return [str(folder), str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def sample_app(sample_distribution, database, tmp_path_factory):
    """The site with the plugin ``sample`` and its tables. One app for a database."""
    instance = tmp_path_factory.mktemp("sample-site")
    (instance / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for folder in sample_distribution:
            patch.syspath_prepend(folder)
        settings = {"SQLALCHEMY_DATABASE_URI": database, "ARGON2_PARAMETERS": CHEAP_ARGON2}
        app = create_app(instance, PLUGINS=["sample"], TESTING=True, **settings)
    counter = sys.modules["sample.models"].Counter
    app.done = sys.modules["sample.routes"].DONE
    app.counted = lambda: _read(app, counter)
    with app.app_context():
        Base.metadata.create_all(db.engine)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def sample(sample_app, sample_distribution, monkeypatch):
    """``sample_app`` with the base data of the kit, and a counter in the database."""
    for folder in sample_distribution:
        monkeypatch.syspath_prepend(folder)
    sample_app.done.clear()
    sample_app.extensions["pulsar"].identities.clear()
    with sample_app.app_context():
        _empty_tables()
        _add_base_data()
        db.session.add(sys.modules["sample.models"].Counter(id=1, value=0))
        db.session.commit()
    return sample_app


def _read(app, counter):
    with app.app_context():
        return db.session.get(counter, 1).value


@pytest.fixture
def flask(tmp_path, monkeypatch):
    """``flask("plugin", "list", instance=folder)``: exit status and output of the command."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, instance=None, **environment):
        environment |= {"PULSAR_INSTANCE_PATH": str(instance or tmp_path / "instance")}
        before = dict(os.environ)
        try:
            done = CliRunner(env=environment).invoke(
                cli, ["--app", "core.app", *arguments], prog_name="flask"
            )
        finally:
            os.environ.clear()
            os.environ.update(before)
        found = None
        if done.stdout[:1] in ("{", "["):
            found = json.loads(done.stdout)
        return SimpleNamespace(
            exit_code=done.exit_code, stdout=done.stdout, stderr=done.stderr, json=found, result=done
        )

    return run


@pytest.fixture
def at_once():
    """``at_once(call, call, ...)``: what each returned, called by threads that start together."""

    def run(*calls):
        start, answers = threading.Barrier(len(calls)), [None] * len(calls)

        def work(number, call):
            start.wait()
            answers[number] = call()

        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    return run
