import json
import stat

import pytest

from pulsar_client.errors import ConfigurationError
from pulsar_client.handles import Handle, parse_handle
from pulsar_client.settings import DEFAULT_URL, forget_login, load_settings, store_login


def test_a_handle_has_owner_name_and_path():
    assert parse_handle("demo/flights") == Handle("demo", "flights")
    assert parse_handle("demo/flights/a b/c.csv", with_path=True).path == ("a b", "c.csv")
    assert str(parse_handle("demo/flights/x", with_path=True)) == "demo/flights/x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "demo/",
        "/x",
        "Demo/x",
        "demo/1x",
        "../x",
        "demo/..",
        "demo/x/y",
        "demo/x\n",
        "a" * 65 + "/x",
    ],
)
def test_what_is_no_handle_is_a_usage_error(text):
    with pytest.raises(ConfigurationError):
        parse_handle(text)


@pytest.mark.parametrize("path", ["..", "a/../b", "", "a\0"])
def test_a_path_in_a_handle_cannot_leave_the_package(path):
    with pytest.raises(ConfigurationError):
        parse_handle(f"demo/x/{path}", with_path=True)


def test_arguments_win_over_the_environment_and_that_over_stored_logins(tmp_path):
    home = tmp_path / "home"
    store_login(home, "http://stored", "demo", "stored-key")
    environment = {"PULSAR_CLIENT_HOME": str(home)}

    stored = load_settings(environment=environment)
    assert (stored.home, stored.url, stored.key) == (home, "http://stored", "stored-key")
    environment |= {"PULSAR_CLIENT_URL": "http://env/", "PULSAR_CLIENT_KEY": "env-key"}
    assert load_settings(environment=environment).url == "http://env"
    assert load_settings(environment=environment).key == "env-key"
    given = load_settings("http://arg", "arg-key", tmp_path, environment=environment)
    assert (given.home, given.url, given.key) == (tmp_path, "http://arg", "arg-key")


def test_a_stored_key_is_not_sent_to_another_site(tmp_path):
    store_login(tmp_path, "http://stored", "demo", "stored-key")

    assert load_settings("http://other", home=tmp_path, environment={}).key is None


def test_the_default_home_is_the_data_folder_of_the_platform(tmp_path):
    assert load_settings(environment={"XDG_DATA_HOME": str(tmp_path)}).home == tmp_path / "pulsar"
    assert load_settings(environment={"XDG_DATA_HOME": str(tmp_path)}).url == DEFAULT_URL


def test_stored_keys_are_readable_by_their_owner_only(tmp_path):
    store_login(tmp_path, "http://a", "demo", "one")
    store_login(tmp_path, "http://b", "demo", "two")

    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert forget_login(tmp_path, "http://a")
    assert not forget_login(tmp_path, "http://a")
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "credentials.json").read_text()) == {
        "http://b": {"key": "two", "username": "demo"}
    }


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "x", "http://", "http://x?y", "http://x#y", "http://u:p@x", "http://x:port", "http://[x"],
)
def test_what_is_no_site_is_a_usage_error(url, tmp_path):
    with pytest.raises(ConfigurationError):
        load_settings(url, home=tmp_path, environment={})


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "credentials.json").write_text("{")

    with pytest.raises(ConfigurationError, match=r"credentials\.json"):
        load_settings(home=tmp_path, environment={})
