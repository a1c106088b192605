"""How long the client waits for a site that is busy, what it says meanwhile, and how it ends."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from pulsar_client import bars, console, errors
from pulsar_client.http import MAX_WAIT, RETRIES, Http, _get_retry_after

REFUSED = b'{"status":"failed","response":"Client rate limit exceeded.","error":{"code":"rate_limited"}}'


class Answers(BaseAdapter):
    """A site that gives these answers, (status, headers), and then the last one for ever."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)
        self.asked = 0
        self.lock = threading.Lock()

    def send(self, request, **_):
        with self.lock:
            status, headers = self.answers[min(self.asked, len(self.answers) - 1)]
            self.asked += 1
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url
        response.headers.update(headers)
        response.raw = HTTPResponse(BytesIO(b"{}" if status == 200 else REFUSED), preload_content=False)
        return response

    def close(self):
        pass


class Heard:
    def __init__(self):
        self.said = []
        self.say = self.said.append

    def start(self, what, total_bytes):
        pass

    advance = start


@pytest.fixture
def ask():
    """``ask(*answers)``: one call of such a site; what was answered or raised, waits, and what was said."""

    def run(*answers):
        slept, heard, site = [], Heard(), Answers(*answers)
        http = Http("http://site", transport=site, progress=heard, sleep=slept.append, backoff=0.1)
        try:
            found = http.get_json("GET", "/x")
        except errors.PulsarError as error:
            found = error
        http.close()
        return found, slept, heard.said, site

    return run


def after(text):
    return {"Retry-After": str(text)}


@pytest.mark.parametrize("status", [429, 503])
def test_a_site_that_asks_for_time_gets_it(ask, status):
    found, slept, said, _ = ask((status, after(80)), (status, after(3)), (200, {}))
    assert found == {}
    assert slept == [80, 3]
    why = "too many requests" if status == 429 else "the site is busy"
    assert said[0] == f"{why}; waiting 80 s, as the site asks"


def test_waits_too_short_to_notice_are_not_told(ask):
    found, slept, said, _ = ask((429, after(1)), (503, {}), (200, {}))
    assert (found, said) == ({}, [])
    assert slept[0] == 1
    assert 0 < slept[1] < 1


def test_a_date_will_do_too(ask):
    moment = datetime.now(UTC) + timedelta(seconds=50)
    _, slept, _, _ = ask((503, after(format_datetime(moment, usegmt=True))), (200, {}))
    assert 40 < slept[0] <= 50


def test_who_asks_for_too_much_is_an_error_that_says_so_at_once(ask):
    for text in (int(MAX_WAIT) + 1, 7200, "9" * 5000):
        found, slept, said, site = ask((429, after(text)))
        assert isinstance(found, errors.RateLimited)
        assert (slept, said, site.asked) == ([], [], 1)
        assert str(found).startswith("Client rate limit exceeded. It asks to wait ")
    found, *_ = ask((503, after(7200)))
    assert "It asks to wait 7200 s, longer than this client does; try again then." in str(found)


def test_who_refuses_again_and_again_is_an_error_in_the_end(ask):
    found, slept, _, site = ask((429, after(5)))
    assert isinstance(found, errors.RateLimited)
    assert (len(slept), site.asked) == (RETRIES, RETRIES + 1)
    assert sum(slept) <= RETRIES * MAX_WAIT
    assert str(found) == f"Client rate limit exceeded. Asked {RETRIES + 1} times; try again later."


def test_what_is_no_matter_of_patience_is_not_asked_again(ask):
    found, slept, said, site = ask((503, after(0)), (404, after(30)))
    assert isinstance(found, errors.SiteError)
    assert "Asked" not in str(found)
    assert (len(slept), said, site.asked) == (1, [], 2)


def test_threads_that_wait_together_say_it_once():
    site, heard, ready = Answers(*[(429, after(30))] * 16, (200, {})), Heard(), threading.Barrier(16)
    http = Http("http://site", transport=site, progress=heard, sleep=lambda _: ready.wait(30), backoff=0.0)
    threads = [threading.Thread(target=http.get_json, args=("GET", "/x")) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    http.close()
    assert heard.said == ["too many requests; waiting 30 s, as the site asks"]


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_whatever_a_site_says_of_time_is_seconds_or_nothing(text):
    response = requests.Response()
    response.headers["Retry-After"] = text
    found = _get_retry_after(response)
    assert found is None or found >= 0


@pytest.mark.parametrize(("options", "heard"), [({}, "busy\n"), ({"quiet": True}, ""), ({"json": True}, "")])
def test_the_command_says_it_unless_it_shall_be_quiet(monkeypatch, capsys, options, heard):
    monkeypatch.setattr(console, "_output", console.Output(**options))
    with console._open_progress() as progress:
        progress.say("busy")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", heard)


def test_on_a_terminal_it_stands_above_the_bars(monkeypatch, capsys):
    with bars.open_bars() as progress:
        progress.start("push", 10)
        progress.say("[bold]busy[/bold]")
    assert "[bold]busy[/bold]" in capsys.readouterr().err
