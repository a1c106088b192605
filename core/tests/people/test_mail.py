"""Mail: a real server, real jobs; what the links open, and for whom; and a site without any."""

import logging
import re
import time
from datetime import timedelta

import pytest
from mail_server import MailServer
from sqlalchemy import select

from core import mail
from core.app import create_app
from core.cli.admin import admin
from core.config import ConfigError
from core.conftest import KEY_OF_USER_1
from core.db import db, now
from core.identity import OPERATOR
from core.jobs import Job, JobState
from core.jobs.run import run_next, worker_name
from core.models import Event
from core.users import services

pytestmark = pytest.mark.any_database

ADDRESS = "user_one@example.org"
NEW = "correct horse 2!"


@pytest.fixture
def server(app, clean_database):
    """A mail server that the site is configured with."""
    made = MailServer()
    before = dict(app.config)
    app.config["MAIL_URL"] = made.url
    app.config["PUBLIC_URL"] = "https://lab.example.org"
    yield made
    app.config.update(before)
    made.close()


@pytest.fixture
def work(app, clean_database):
    """``work()``: do the jobs that are due, or will be in ``seconds``; how many attempts there were."""

    def do(seconds=0.0):
        db.session.rollback()
        attempts = 0
        while run_next(app, worker_name(), clock=lambda: now() + timedelta(seconds=seconds)):
            attempts += 1
        return attempts

    return do


@pytest.fixture
def open_site(app):
    before = app.config["REQUIRE_INVITE_CODE"]
    app.config["REQUIRE_INVITE_CODE"] = False
    yield
    app.config["REQUIRE_INVITE_CODE"] = before


def link_in(letter, path):
    return re.search(rf"https://lab\.example\.org(/{path}/[\w.-]+)", letter["text"])[1]


def field(page):
    return re.search(r'name="csrf_token" value="([^"]*)"', page.text)[1]


def ask(client, email):
    return client.post("/password", data={"email": email, "csrf_token": field(client.get("/password"))})


def set_password(client, path, password):
    return client.post(path, data={"password": password, "csrf_token": field(client.get(path))})


def user(name="user_one"):
    db.session.rollback()
    return services.find_user(name)


def test_who_registers_gets_a_link_that_verifies_the_address(client, server, work, open_site):
    account = {"username": "ann", "password": NEW, "email": "Ann@Example.org"}
    assert client.post("/users", json=account).status_code == 200
    assert user("ann").email_verified_at is None
    assert work() == 1
    (letter,) = server.mails
    assert letter["to"] == "TO:<ann@example.org>"
    assert letter["sender"].startswith("FROM:<data@example.org>")
    assert "Hello ann" in letter["text"]
    path = link_in(letter, "activate")
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert user("ann").email_verified_at is not None
    assert client.get(path).status_code == 303
    names = db.session.scalars(select(Event.name).where(Event.target == f"user:{user('ann').id}")).all()
    assert names.count("core.user.email_verified") == 1


def test_a_link_verifies_the_address_that_it_was_mailed_to(client, server, work, freeze_time):
    services.ask_for_verification(user())
    db.session.commit()
    work()
    path = link_in(server.mails[0], "activate")
    for bad in (
        path[:-1],
        f"{path}x",
        "/activate/x",
        "/activate/" + "x" * 5000,
        path.replace("activate", "password"),
    ):
        answer = client.get(bad)
        assert (answer.status_code, answer.mimetype) == (400, "text/html")
        assert "This link is not valid any more." in answer.text
    services.change_user(1, {"email": "other@example.org"}, OPERATOR)
    db.session.commit()
    assert client.get(path).status_code == 400
    assert user().email_verified_at is None


def test_a_user_may_ask_for_the_link_again_but_is_not_flooded(authed_client, server, work):
    for _ in range(3):
        assert authed_client.post("/users/me/verification").json["response"] == "A mail is on its way."
    work()
    authed_client.post("/users/me/verification")
    work()
    assert len(server.mails) == 1
    authed_client.get(link_in(server.mails[0], "activate"))
    assert authed_client.post("/users/me/verification").json["response"] == "The address is verified."


def test_a_mailed_link_sets_the_password_once(app, client, client_of, server, work):
    asked = ask(client, f" {ADDRESS.upper()} ")
    work()
    (letter,) = server.mails
    path = link_in(letter, "password")
    page = client.get(path)
    assert "<strong>user_one</strong>" in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    weak = set_password(client, path, "short")
    assert (weak.status_code, 'role="alert"' in weak.text) == (400, True)
    assert client_of(KEY_OF_USER_1).get("/users/me").status_code == 200

    done = set_password(client, path, NEW)

    assert (done.status_code, "The password is set." in done.text) == (200, True)
    assert client_of(KEY_OF_USER_1).get("/users/me").status_code == 401, (
        "what was opened with the old one ended"
    )
    assert client.post("/sessions", json={"username": "user_one", "password": NEW}).status_code == 200
    assert user().email_verified_at is not None
    for method in (client.get, client.post):
        assert method(path).status_code == 400, "a link is good once"
    other = ask(client, "nobody@example.org")
    assert (other.status_code, other.text) == (asked.status_code, asked.text)


def test_nobody_learns_who_has_an_account(client, server, work, query_counter):
    ask(client, "first@example.org")  # what a new connection asks is not counted
    statements = []
    for address in (ADDRESS, "nobody@example.org"):
        with query_counter() as found:
            answer = ask(client, address)
        statements.append((answer.status_code, len(found)))
    assert statements[0] == statements[1]
    work()
    assert [letter["to"] for letter in server.mails] == [f"TO:<{ADDRESS}>"]
    assert ask(client, "no address").status_code == 400


def test_each_account_of_an_address_gets_its_link_and_a_disabled_one_none(client, server, work):
    for number in (2, 3):
        services.change_user(number, {"email": ADDRESS}, OPERATOR)
    services.change_user(3, {"enabled": False}, OPERATOR)
    db.session.commit()
    ask(client, ADDRESS)
    ask(client, ADDRESS)
    work()
    ask(client, ADDRESS)
    work()
    assert sorted(re.findall(r"Hello (\w+)", letter["text"])[0] for letter in server.mails) == [
        "user_one",
        "user_two",
    ]
    paths = [link_in(letter, "password") for letter in server.mails]
    services.change_user(1, {"enabled": False}, OPERATOR)
    services.change_user(2, {"enabled": False}, OPERATOR)
    db.session.commit()
    assert {client.get(path).status_code for path in paths} == {400}


def test_a_link_ends_after_a_day(client, server, work, monkeypatch):
    ask(client, ADDRESS)
    work()
    path = link_in(server.mails[0], "password")
    made = time.time()
    for hours, status in ((23.9, 200), (24.1, 400)):
        monkeypatch.setattr("itsdangerous.timed.time.time", lambda hours=hours: made + hours * 3600)
        assert client.get(path).status_code == status


def test_a_link_in_an_old_mailbox_sets_no_password(client, server, work):
    ask(client, ADDRESS)
    work()
    path = link_in(server.mails[0], "password")
    assert client.get(path).status_code == 200
    services.change_user(1, {"email": "new@example.org"}, OPERATOR)
    db.session.commit()
    assert client.get(path).status_code == 400


@pytest.mark.parametrize("path", ["/password", "/password/x"])
def test_the_forms_are_of_this_site(client, server, path):
    assert client.post(path, data={"email": ADDRESS, "password": NEW}).status_code in (400, 403)
    assert client.post("/password", data={"email": ADDRESS, "csrf_token": "é"}).status_code == 403


def test_no_link_and_no_secret_is_stored(client, server, work):
    ask(client, ADDRESS)
    services.ask_for_verification(user())
    db.session.commit()
    work()
    db.session.rollback()
    links = [re.search(r"/(?:activate|password)/([\w.-]+)", letter["text"])[1] for letter in server.mails]
    assert len(links) == 2
    kept = str(db.session.execute(select(Job.arguments, Job.result, Job.error)).all())
    kept += str(db.session.execute(select(Event.payload, Event.target)).all())
    assert not [link for link in links if link in kept]


def test_a_server_that_is_away_is_asked_again_and_one_that_refuses_is_not(client, server, work):
    server.answers = ["451 later", "250 fine"]
    ask(client, ADDRESS)
    assert work() == 1
    db.session.rollback()
    assert db.session.scalar(select(Job.finished_at)) is None
    assert work(seconds=120) == 1
    assert len(server.mails) == 1
    server.answers = ["550 no such user"]
    mail.send("gone@example.org", "Hello", "Text")
    db.session.commit()
    assert work() == 1
    db.session.rollback()
    job = db.session.scalar(select(Job).where(Job.kind == "core.send_mail"))
    assert (job.state, job.error) == (JobState.FAILED, "The mail server 127.0.0.1 answered 550.")


@pytest.mark.parametrize("to", ["a,b@example.org", "<x>@example.org", "a@b@c", "x" * 300])
def test_an_address_that_is_several_is_not_written_to(server, work, to):
    mail.send(to, "Hello", "Text")
    db.session.commit()
    work()
    db.session.rollback()
    assert server.mails == []
    assert db.session.scalar(select(Job.state)) == JobState.FAILED


def test_without_a_server_no_password_is_reset_and_an_address_is_verified_by_the_log(app, client, caplog):
    caplog.set_level(logging.INFO)
    assert ask(client, ADDRESS).status_code == 200
    assert db.session.scalars(select(Job)).all() == []
    assert "flask admin passwd" in caplog.text
    assert ADDRESS not in caplog.text
    services.ask_for_verification(user())
    path = re.search(r"(/activate/[\w.-]+)", caplog.text)[1]
    assert client.get(path).status_code == 303
    mail.send("ann@example.org", "Hello", "a line")
    assert "to ann@example.org: Hello: a line" in caplog.text
    assert "Forgot" not in client.get("/login").text


def test_with_a_server_the_page_for_signing_in_offers_a_link(client, server):
    assert '<a href="/password">Forgot the password?</a>' in client.get("/login").text


def test_accounts_made_by_the_operator_have_a_verified_address(runner):
    words = ("create", "--username", "ann", "--email", "a@b.org", "--password-stdin", "--class", "User")
    done = runner.invoke(admin, words, input=f"{NEW}\n")
    assert done.exit_code == 0, done.output
    assert user("ann").email_verified_at is not None


@pytest.mark.parametrize(
    "value",
    [
        "mail.example.org",
        "http://x",
        "smtp://",
        "smtp://x:0",
        "smtp://x:99999",
        "smtp://x/y",
        "smtp://x?from=me",
        "smtp://x?y",
    ],
)
def test_an_address_of_no_mail_server_stops_the_start(tmp_path, value):
    (tmp_path / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n")
    with pytest.raises(ConfigError, match="MAIL_URL"):
        create_app(tmp_path, MAIL_URL=value)
