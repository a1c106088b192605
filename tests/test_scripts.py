"""What the Makefile's own scripts promise: trust nothing half-done, and leave no index in the lock."""

import json
import sys
import venv

import pytest

import install
import lock


@pytest.fixture(autouse=True)
def _without_pip(monkeypatch):
    """Make environments without pip: it is what takes seconds, and nothing is installed here."""
    monkeypatch.setattr(install, "run", lambda *command: venv.create(command[-1], symlinks=True))


@pytest.fixture
def folder(tmp_path):
    """A virtual environment that was completed."""
    folder = tmp_path / "env"
    with install.building(folder, pipenv="x"):
        pass
    return folder


def test_a_complete_environment_is_trusted(folder):
    assert install.read_stamp(folder)["pipenv"] == "x"


def test_one_that_was_interrupted_is_built_again(folder):
    with pytest.raises(KeyboardInterrupt), install.building(folder):
        raise KeyboardInterrupt
    assert install.read_stamp(folder) == {}
    (folder / "left over").touch()

    with install.building(folder):
        pass

    assert install.read_stamp(folder)
    assert not (folder / "left over").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"folder": 1, "python": 2}'])
def test_a_stamp_that_says_nothing_is_not_trusted(folder, text):
    (folder / "installed.json").write_text(text)
    assert install.read_stamp(folder) == {}


def test_one_whose_python_is_gone_or_was_upgraded_is_not_trusted(folder):
    stamp = folder / "installed.json"
    complete = stamp.read_text()
    stamp.write_text(json.dumps({**json.loads(complete), "python": "3.11.999"}))
    assert install.read_stamp(folder) == {}

    stamp.write_text(complete)
    assert install.read_stamp(folder)
    (folder / "bin" / "python").unlink()
    assert install.read_stamp(folder) == {}


def test_one_that_was_moved_is_not_trusted(folder, tmp_path):
    assert install.read_stamp(folder.rename(tmp_path / "elsewhere")) == {}


def test_one_of_another_python_than_was_asked_for_is_not_trusted(folder, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert install.read_stamp(folder) == {}


def test_a_file_in_its_place_is_no_obstacle(tmp_path):
    (tmp_path / "env").write_text("not a folder")
    with install.building(tmp_path / "env"):
        pass
    assert install.read_stamp(tmp_path / "env")


def test_stripping_leaves_no_index_and_an_empty_list_of_sources():
    made = {
        "_meta": {"sources": [{"name": "x", "url": "https://index.test"}], "hash": {"sha256": "0"}},
        "default": {"a": {"version": "==1", "index": "x"}},
        "develop": {"b": {"version": "==2"}},
    }
    lock.strip(made)
    assert made == {
        "_meta": {"sources": [], "hash": {"sha256": "0"}},
        "default": {"a": {"version": "==1"}},
        "develop": {"b": {"version": "==2"}},
    }


def test_a_file_of_this_machine_does_not_get_into_the_lock():
    with pytest.raises(SystemExit, match="a was found at"):
        lock.strip({"_meta": {}, "default": {"a": {"file": "a.whl"}}, "develop": {}})
