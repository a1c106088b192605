"""Mail, where the site has a server for it: the one setting ``MAIL_URL``.

A mail is a job of the transaction that wants it sent, and is tried again while the server is away. Without a
server what it would say is logged, for the operator to pass on.
"""

import logging
import smtplib
import ssl
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from flask import current_app

from core.db import db
from core.errors import Unavailable
from core.jobs.kinds import job
from core.jobs.queue import enqueue
from core.jobs.task import Failed, Task

__all__ = ["ATTEMPTS", "FIRST_PAUSE", "address_of", "can_send", "deliver", "send", "send_mail"]

log = logging.getLogger(__name__)

TIMEOUT: Final = 30.0  # s for each word of the server
# Pauses of 1, 2, 4 ... minutes and then an hour each: a server may be away for half a day.
ATTEMPTS: Final = 16
FIRST_PAUSE: Final = 60.0  # s
TEMPORARY: Final = range(400, 500)  # what a mail server says when it may work later


def can_send() -> bool:
    """Whether the site has a mail server."""
    return bool(current_app.config["MAIL_URL"])


def address_of(path: str) -> str:
    """The address of a page of this site, for a mail.

    From the configuration alone: who asks for a mail shall not choose where its links lead.
    """
    return f"{current_app.config['PUBLIC_URL'].rstrip('/')}{path}"


def send(to: str, subject: str, text: str) -> None:
    """Send a mail once the present transaction is stored; without a server, log it.

    :param text: nothing that opens an account: it is kept with the job, or in the log.
    """
    if can_send():
        enqueue(send_mail, to=to, subject=subject, text=text)
    else:
        log.info("no mail server is configured; to %s: %s: %s", to, subject, text)


@job("core.send_mail", max_attempts=ATTEMPTS, backoff=FIRST_PAUSE)
def send_mail(task: Task, *, to: str, subject: str, text: str) -> None:
    """Send one mail."""
    db.session.rollback()  # no transaction waits for the server
    deliver(to, subject, text)


def deliver(to: str, subject: str, text: str) -> None:
    """Hand a mail to the server now.

    :raises Unavailable: if it cannot be reached, or may take the mail later.
    :raises Failed: if there is no server, or it does not want this mail.
    """
    if not can_send():
        raise Failed("No mail server is configured any more.")
    parts = urlsplit(current_app.config["MAIL_URL"])
    sender = parse_qs(parts.query).get("from", [f"pulsar@{parts.hostname}"])[0]
    try:
        message = _write(sender, to, subject, text)
    except (ValueError, IndexError, MessageError) as exc:
        raise Failed("The address cannot be written to.") from exc
    host, context = parts.hostname or "", ssl.create_default_context()
    try:
        with _connect(host, parts.port, context if parts.scheme == "smtps" else None) as server:
            if parts.scheme == "smtp" and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message, sender, [to])
    except smtplib.SMTPRecipientsRefused as exc:
        (code, _), *_ = exc.recipients.values()
        raise _refusal(code, host) from exc
    except smtplib.SMTPResponseException as exc:
        raise _refusal(exc.smtp_code, host) from exc
    except (OSError, smtplib.SMTPException) as exc:
        raise Unavailable(f"The mail server {host} could not be reached.") from exc


def _write(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = Address("pulsar", addr_spec=sender)
    message["To"] = Address(addr_spec=to)
    message["Subject"] = subject
    message["Auto-Submitted"] = "auto-generated"  # nobody's holiday shall answer
    message.set_content(text)
    return message


def _connect(host: str, port: int | None, context: ssl.SSLContext | None) -> smtplib.SMTP:
    if context is not None:
        return smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT, context=context)
    server = smtplib.SMTP(host, port or 25, timeout=TIMEOUT)
    server.ehlo()
    return server


def _refusal(code: int, host: str) -> Exception:
    words = f"The mail server {host} answered {code}."
    return Unavailable(words) if code in TEMPORARY else Failed(words)
