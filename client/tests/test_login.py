"""pulsar login, logout, whoami, config: which site, with which key."""

import json
import stat

import pytest

from pulsar_client.errors import ConfigurationError
from pulsar_client.settings import load_settings

UNSET = {"PULSAR_CLIENT_URL": None, "PULSAR_CLIENT_KEY": None}


@pytest.fixture
def signed_in(pulsar, site, tmp_path):
    """The stored key, or None."""
    assert pulsar("login", site.url, stdin=site.key, **UNSET)[0] == 0

    def find():
        return json.loads((tmp_path / "home/credentials.json").read_text()).get(site.url)

    return find


def test_a_key_that_one_made_is_forgotten_and_stays_valid(site, pulsar, signed_in):
    assert pulsar("logout", **UNSET) == (0, "", f"Logged out of {site.url}.\n")
    assert (signed_in(), site.more.ended) == (None, False)
    assert pulsar("logout", **UNSET)[2] == f"There was no key stored for {site.url}.\n"


def test_a_key_is_ended_if_one_asks_for_it(site, pulsar, signed_in):
    status, out, err = pulsar("logout", "--revoke", "--json", **UNSET)

    assert (status, err) == (0, "")
    assert json.loads(out) == {"url": site.url, "removed": True, "revoked": True}
    assert (signed_in(), site.more.ended) == (None, True)


@pytest.mark.parametrize("kind", ["access", "session"])
def test_what_signing_in_made_ends_without_being_asked_to(site, pulsar, signed_in, kind):
    site.more.kind = kind
    assert pulsar("logout", **UNSET)[2] == f"Logged out of {site.url}, and the key ended.\n"
    assert site.more.ended


def test_a_plain_registry_has_tokens_of_a_sign_in_only(site, pulsar, signed_in):
    site.plain = True
    assert "the key ended" in pulsar("logout", **UNSET)[2]


def test_a_key_that_could_not_be_ended_is_kept(site, pulsar, signed_in):
    site.more.answers["POST /api/logout"] = (500, {"message": "Broken."})
    assert pulsar("logout", "--revoke", **UNSET) == (1, "", "pulsar: Broken.\n")
    assert signed_in()["key"] == site.key


def test_a_key_that_had_ended_is_forgotten(site, pulsar, signed_in):
    site.key = "another"
    assert pulsar("logout", "--revoke", **UNSET)[0] == 0
    assert signed_in() is None


def test_a_key_of_the_environment_is_not_ended(site, pulsar):
    assert pulsar("logout", "--revoke")[2] == f"There was no key stored for {site.url}.\n"
    assert not site.more.ended


def test_a_site_that_does_not_answer_does_not_keep_one_logged_in(site, pulsar, signed_in):
    site.busy = [503] * 20
    assert pulsar("logout", **UNSET)[0] == 0
    assert signed_in() is None
    assert len(site.busy) == 19  # It was asked once.


def test_whoami_works_with_a_plain_registry(site, pulsar):
    site.plain = True
    site.more.answers["GET /users/me"] = (404, b"<html>")
    assert pulsar("whoami") == (0, "demo\n", "")


def test_config_says_where_everything_comes_from_but_not_the_key(site, pulsar, signed_in, tmp_path):
    status, out, err = pulsar("config", **UNSET)
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["site", site.url, "config.json"],
        ["key", "of", "demo", "credentials.json"],
        ["home", str(tmp_path / "home"), "PULSAR_CLIENT_HOME"],
    ]
    given = json.loads(pulsar("config", "--json")[1])
    assert given == {
        "url": site.url,
        "url_from": "PULSAR_CLIENT_URL",
        "key": True,
        "key_from": "PULSAR_CLIENT_KEY",
        "username": None,
        "home": str(tmp_path / "home"),
        "home_from": "PULSAR_CLIENT_HOME",
    }
    assert site.key not in out


def test_the_default_site_is_set_and_unset(pulsar, tmp_path):
    assert "https://data.example.org" in pulsar("config", "https://data.example.org/", **UNSET)[1]
    assert json.loads((tmp_path / "home/config.json").read_text()) == {"url": "https://data.example.org"}
    assert json.loads(pulsar("config", "--unset", "--json", **UNSET)[1])["url_from"] == "default"
    assert "PULSAR_CLIENT_URL is set" in pulsar("config", "https://data.example.org")[2]
    for wrong in (["ftp://x"], ["https://x", "--unset"]):
        assert pulsar("config", *wrong)[0] == 2


def test_a_stored_site_that_is_wrong_can_be_unset(pulsar, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/config.json").write_text('{"url": 5}')
    assert pulsar("config", **UNSET)[0] == 2
    assert pulsar("config", "--unset", **UNSET)[0] == 0


@pytest.mark.parametrize("url", ["http://u:secret@x", "http://u:secret@x:port", "ftp://u:secret@x?y"])
def test_a_password_in_an_address_is_not_repeated(url, tmp_path):
    with pytest.raises(ConfigurationError) as refused:
        load_settings(url, home=tmp_path, environment={})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["secret\r\nX-Other: 1", "sécret", "sec ret"])
def test_a_key_that_is_none_is_refused_without_showing_it(pulsar, key, tmp_path):
    status, out, err = pulsar("whoami", "--debug", PULSAR_CLIENT_KEY=key)
    assert (status, out) == (2, "")
    assert "not an API key" in err
    assert key not in err


def test_a_line_end_after_the_key_does_no_harm(site, pulsar):
    assert pulsar("whoami", PULSAR_CLIENT_KEY=f"{site.key}\n")[0] == 0


def test_files_with_keys_are_never_wider_open(pulsar, site, signed_in, tmp_path):
    (tmp_path / "home/credentials.json").chmod(0o644)
    pulsar("login", site.url, stdin=site.key, **UNSET)
    assert stat.S_IMODE((tmp_path / "home/credentials.json").stat().st_mode) == 0o600


def test_settings_do_not_show_the_key():
    assert "hush" not in repr(load_settings("http://x", "hush", "/h", environment={}))
