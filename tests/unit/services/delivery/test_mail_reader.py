"""Hostile mail is read in a child process, within its limits."""

import asyncio
import gzip
from collections.abc import Callable

import pytest

from services.delivery.clients import mail_reader as clients
from services.delivery.clients.mail_reader import MailReaderChild, mail_reader, report_reader
from services.delivery.domain.returned_mail import UNREADABLE
from tests.support.returned_mail import bounce

MIB = 1 << 20
HEAD = b'From: <>\r\nSubject: Undelivered\r\nContent-Type: multipart/report; boundary="b"\r\n\r\n'
STATUS = b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"


def deep() -> bytes:
    levels = (
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n)
        for n in range(16_000)
    )
    return b"".join(levels)[:MIB]


HOSTILE = {
    "deep": deep(),
    "parts": HEAD + b"--b\r\n\r\n\r\n" * 95_000,
    "reports": HEAD + (STATUS + b"Action: failed\r\n") * 15_000,
    "recipients": HEAD + STATUS
    + b"Final-Recipient: rfc822;a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n" * 13_000,
    "fields": b"X: y\r\n" * 170_000,
    "folded": b"Subject: x" + b"\r\n y" * 250_000,
    "line": b"From: MAILER-DAEMON\r\n\r\n" + b"550 5.1.1 a@b.example " * 46_000,
    "html": b"From: MAILER-DAEMON\r\nContent-Type: text/html\r\n\r\n" + b"<table><td>" * 95_000,
    "gzip": HEAD + b"--b\r\nContent-Type: application/gzip\r\n\r\n"
    + gzip.compress(bytes(16 * MIB)),
    "words": b"Subject: " + b"=?utf-8?q?=41?= " * 60_000,
    "zeros": bytes(MIB),
}  # fmt: skip


async def test_hostile_mail_is_read_or_given_up_and_the_next_one_is_read() -> None:
    reader = mail_reader()
    try:
        for name, raw in HOSTILE.items():
            mail = await reader.read(raw[:MIB])
            assert mail == UNREADABLE or len(mail.tokens) == 0, name
            assert (await reader.read(bounce("x@a.example", "u@b.example"))).kind == "bounce"
    finally:
        await reader.child.close()


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\0" * 100])
async def test_empty_mail_is_no_report(raw: bytes) -> None:
    reader = mail_reader()
    try:
        assert not (await reader.read(raw)).is_report
    finally:
        await reader.child.close()


@pytest.mark.parametrize("create", [mail_reader, report_reader])
async def test_mail_that_waits_too_long_for_others_is_given_up(
    create: Callable[[], MailReaderChild[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = create()

    async def process(_: object) -> list[bytes]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(clients, "READ_S", 0.0)
    monkeypatch.setattr(reader.child, "process", process)
    with pytest.raises(TimeoutError):
        await reader.read(b"")
