"""Settings: every source, which one wins, and what is said of mistakes."""

import pytest

from core.app import create_app
from core.config import EXAMPLE_SECRET, ConfigError


@pytest.fixture
def instance(tmp_path, monkeypatch):
    """``instance("WEB_THREADS = 3")``: an instance folder with these lines in its config.py."""
    monkeypatch.chdir(tmp_path)

    def write(text="", secret="SECRET_KEY = 'a secret of the test'"):
        folder = tmp_path / "instance"
        folder.mkdir(exist_ok=True)
        (folder / "config.py").write_text(f"{secret}\n{text}\n", encoding="utf-8")
        return folder

    return write


@pytest.fixture
def problem(instance):
    """``problem("PLUGINS = 1")``: what the start says of this configuration."""

    def start(text="", **kwargs):
        with pytest.raises(ConfigError) as caught:
            create_app(instance(text, **kwargs))
        assert "\n" not in caught.value.format_message()
        return caught.value.format_message()

    return start


def test_each_source_wins_over_the_one_before(instance, tmp_path, monkeypatch, make_plugin):
    make_plugin("probe", init="class Config:\n    PROBE_SIZE = 1\n")
    enable = "PLUGINS = ['probe']\n"

    assert create_app(instance(enable)).config["PROBE_SIZE"] == 1
    assert create_app(instance(enable + "PROBE_SIZE = 2")).config["PROBE_SIZE"] == 2
    (tmp_path / ".env").write_text("PULSAR_PROBE_SIZE=3\n")
    assert create_app(instance(enable + "PROBE_SIZE = 2")).config["PROBE_SIZE"] == 3
    monkeypatch.setenv("PULSAR_PROBE_SIZE", "4")
    assert create_app(instance(enable + "PROBE_SIZE = 2")).config["PROBE_SIZE"] == 4
    assert create_app(instance(enable + "PROBE_SIZE = 2"), PROBE_SIZE=5).config["PROBE_SIZE"] == 5


def test_the_environment_holds_json_or_text(instance, monkeypatch):
    monkeypatch.setenv("PULSAR_ANONYMOUS_PERMISSIONS", '["users_view"]')
    monkeypatch.setenv("PULSAR_WEB_THREADS", "3")
    monkeypatch.setenv("PULSAR_SECRET_KEY", "12345")
    monkeypatch.setenv("PULSAR_LOG_LEVEL", "ERROR")
    config = create_app(instance()).config
    assert config["ANONYMOUS_PERMISSIONS"] == ["users_view"]
    assert config["WEB_THREADS"] == 3
    assert config["SECRET_KEY"] == "12345"
    assert config["LOG_LEVEL"] == "ERROR"


def test_two_underscores_set_one_item_of_a_table(instance, monkeypatch):
    monkeypatch.setenv("PULSAR_URL_PREFIXES__registry", "/packages")
    monkeypatch.setenv("PULSAR_ARGON2_PARAMETERS", '{"time_cost": 1}')
    monkeypatch.setenv("PULSAR_ARGON2_PARAMETERS__memory_cost", "16")
    config = create_app(instance("ARGON2_PARAMETERS = {'parallelism': 1}")).config
    assert config["URL_PREFIXES"] == {"registry": "/packages"}
    assert config["ARGON2_PARAMETERS"] == {"time_cost": 1, "memory_cost": 16}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PULSAR_PLUGINS__x", "1"),
        ("PULSAR_LOG_LEVEL__x", "1"),
        ("PULSAR_URL_PREFIXES", "[1]"),
        ("PULSAR_WEB_THREADS", "many"),
    ],
)
def test_nonsense_in_the_environment_is_named_and_not_a_crash(problem, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert f"{name.removeprefix('PULSAR_').removesuffix('__x')} (environment): " in problem()


def test_a_table_and_one_item_of_another_shape_are_one_error(problem, monkeypatch):
    monkeypatch.setenv("PULSAR_URL_PREFIXES", "[1]")
    monkeypatch.setenv("PULSAR_URL_PREFIXES__cart", "/")
    assert "URL_PREFIXES (environment): " in problem()


def test_everything_wrong_is_said_at_once_with_its_source(problem, monkeypatch):
    monkeypatch.setenv("PULSAR_WEB_PROCESSES", "0")
    said = problem("LOG_LEVEL = 'LOUD'\nWEB_THREADS = 'x'\nMAX_CONTENT_LENGTH = True\nPLUGINS = [1]")
    assert "WEB_PROCESSES (environment): " in said
    for key in ("LOG_LEVEL", "WEB_THREADS", "MAX_CONTENT_LENGTH", "PLUGINS"):
        assert f"{key} (" in said
        assert "config.py): " in said


@pytest.mark.parametrize(
    "text",
    [
        "SQLALCHEMY_DATABASE_URI = 'nonsense'",
        "SQLALCHEMY_DATABASE_URI = 'oracle+unheard://x'",
        "URL_PREFIXES = {'registry': 5}",
        "URL_PREFIXES = {'core': '/core'}",
        "URL_PREFIXES = {'registry': '/<x>'}",
        "URL_PREFIXES = {'regstry': '/x'}",
        "ARGON2_PARAMETERS = {'time_cots': 1}",
        "ARGON2_PARAMETERS = {'time_cost': 'x'}",
        "PLUGIN_FAILURE = 'ignore'",
        "TRUSTED_PROXIES = -1",
    ],
)
def test_a_value_that_cannot_work_stops_the_start(problem, text):
    assert text.partition(" ")[0] in problem(text)


def test_a_near_miss_is_an_error_that_names_what_was_meant(problem):
    said = problem("WEB_THREAD = 3")
    assert "WEB_THREAD (" in said
    assert "did you mean WEB_THREADS?" in said


def test_an_unknown_setting_of_an_enabled_plugin_is_an_error(problem, make_plugin):
    make_plugin("probe", init="class Config:\n    PROBE_SIZE = 1\n")
    assert "PROBE_COLOUR (" in problem("PLUGINS = ['probe']\nPROBE_COLOUR = 1")


def test_settings_of_a_plugin_that_is_switched_off_may_stay(instance, make_plugin, capsys, flask):
    make_plugin("probe", init="class Config:\n    PROBE_SIZE = 1\n")
    done = flask("config", "check", instance=instance("PROBE_COLOUR = 1"))
    assert (done.exit_code, done.stderr) == (0, "")


def test_any_other_unknown_setting_is_a_warning(instance, flask):
    done = flask("config", "check", instance=instance("QUITE_ELSE = 1"))
    assert done.exit_code == 0
    assert "QUITE_ELSE" in done.stderr


def test_the_clients_variables_are_not_settings(instance, monkeypatch, flask):
    monkeypatch.setenv("PULSAR_CLIENT_URL", "http://127.0.0.1:5000")
    done = flask("config", "check", instance=instance())
    assert (done.exit_code, done.stderr) == (0, "")


def test_the_secret_of_the_example_is_refused_except_in_development(problem, instance):
    assert "SECRET_KEY" in problem(secret=f"SECRET_KEY = {EXAMPLE_SECRET!r}")
    assert "SECRET_KEY" in problem(secret="")
    assert "DEBUG" in problem("DEBUG = 'perhaps'", secret=f"SECRET_KEY = {EXAMPLE_SECRET!r}")
    assert create_app(instance("DEBUG = True", secret=f"SECRET_KEY = {EXAMPLE_SECRET!r}"))


def test_a_relative_database_lies_in_the_instance_folder(instance):
    folder = instance("SQLALCHEMY_DATABASE_URI = 'sqlite:///lab.db'")
    assert create_app(folder).config["SQLALCHEMY_DATABASE_URI"] == f"sqlite:///{folder / 'lab.db'}"


def test_names_that_other_systems_use_are_understood(instance, monkeypatch, flask):
    monkeypatch.setenv("DATABASE_URL", "postgres://lab@127.0.0.1/lab")
    folder = instance()
    assert create_app(folder).config["SQLALCHEMY_DATABASE_URI"] == "postgresql+psycopg://lab@127.0.0.1/lab"
    assert "DATABASE_URL" in flask("config", "show", instance=folder).stdout
    monkeypatch.setenv("PULSAR_SQLALCHEMY_DATABASE_URI", "sqlite:///mine.db")
    assert create_app(folder).config["SQLALCHEMY_DATABASE_URI"].endswith("mine.db")


def test_two_apps_do_not_share_a_default(instance):
    folder = instance()
    create_app(folder).config["ANONYMOUS_PERMISSIONS"].append("users_view")
    assert create_app(folder).config["ANONYMOUS_PERMISSIONS"] == []


@pytest.mark.parametrize("text", ["this is not Python", "import nothing_of_that_name", "raise SystemExit(0)"])
def test_a_config_file_that_cannot_be_read_is_one_line(problem, text):
    assert "config.py cannot be read: " in problem(text)


def test_a_missing_config_file_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigError) as caught:
        create_app(tmp_path)
    assert "flask config init" in caught.value.format_message()


def test_check_ends_with_0_or_2_and_one_line(instance, flask):
    fine = flask("config", "check", instance=instance())
    assert (fine.exit_code, fine.stderr) == (0, "")
    wrong = flask("config", "check", instance=instance("WEB_THREADS = 0\nLOG_LEVEL = 1"))
    assert wrong.exit_code == 2
    assert wrong.stdout == ""
    assert len(wrong.stderr.splitlines()) == 1
    assert "WEB_THREADS" in wrong.stderr
    assert "LOG_LEVEL" in wrong.stderr


def test_secrets_are_masked(instance, flask):
    folder = instance("SQLALCHEMY_DATABASE_URI = 'postgresql://lab:topsecret@127.0.0.1/lab'")
    for options in ([], ["--json"], ["--plugin", "core"]):
        said = flask("config", "show", *options, instance=folder).stdout
        assert "SECRET_KEY" in said
        assert "a secret of the test" not in said
        assert "topsecret" not in said


def test_show_says_where_a_value_comes_from(instance, flask, monkeypatch, make_plugin):
    make_plugin("probe", init="class Config:\n    PROBE_SIZE = 1\n")
    monkeypatch.setenv("PULSAR_WEB_THREADS", "3")
    folder = instance("PLUGINS = ['probe']")
    shown = flask("config", "show", "--json", instance=folder).json
    assert (shown["WEB_THREADS"]["value"], shown["WEB_THREADS"]["source"]) == (3, "environment")
    assert shown["WEB_THREADS"]["unit"] == "threads"
    assert shown["WEB_PROCESSES"]["source"] == "default"
    assert shown["PLUGINS"]["source"].endswith("config.py")
    assert list(flask("config", "show", "--json", "--plugin", "probe", instance=folder).json) == [
        "PROBE_SIZE"
    ]
    assert flask("config", "show", "--plugin", "nobody", instance=folder).exit_code == 2


def test_show_works_while_something_is_wrong(instance, flask):
    done = flask("config", "show", instance=instance("WEB_THREADS = 0\nPLUGINS = ['nobody']"))
    assert done.exit_code == 0
    assert "WEB_PROCESSES = 2" in done.stdout
    assert "WEB_THREADS" in done.stderr
    assert "nobody" in done.stderr


def test_init_writes_a_secret_of_its_own_for_its_owner_alone(tmp_path, flask):
    folder = tmp_path / "new"
    assert flask("config", "init", instance=folder).exit_code == 0
    path = folder / "config.py"
    assert path.stat().st_mode & 0o777 == 0o600
    assert EXAMPLE_SECRET not in path.read_text()
    before = path.read_text()
    again = flask("config", "init", instance=folder)
    assert again.exit_code == 1
    assert "--force" in again.stderr
    assert path.read_text() == before
    assert flask("config", "init", "--force", instance=folder).exit_code == 0
    assert path.read_text() != before
