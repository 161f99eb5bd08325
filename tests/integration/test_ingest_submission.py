"""Submission by SMTP with smtplib, on real Kafka and PostgreSQL."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest

from contracts.ingest.v1.directory_pb2 import ApiKey
from contracts.ingest.v1.events_pb2 import RecipientType
from kernel import metrics
from services.ingest.api.acceptance import Acceptance
from tests.support.ingest import DOMAIN, IngestHarness
from tests.support.polling import until
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(IngestHarness)
T = TypeVar("T")
MESSAGE = (
    f"From: Shop <hello@{DOMAIN}>\r\nTo: a@one.example\r\nCc: Bé <b@two.example>\r\n"
    "Bcc: c@three.example\r\nSubject: Your  order\r\n\r\nIt is on its way.\r\n"
).encode()
RECIPIENTS = ("a@one.example", "b@two.example", "c@three.example")


def context(harness: IngestHarness) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=harness.extra["tls_certificate"])


@contextmanager
def starttls(harness: IngestHarness) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("localhost", harness.ports.submission, timeout=60) as client:
        client.starttls(context=context(harness))
        yield client


@contextmanager
def implicit_tls(harness: IngestHarness) -> Iterator[smtplib.SMTP]:
    port = harness.ports.submission_tls
    with smtplib.SMTP_SSL("localhost", port, timeout=60, context=context(harness)) as client:
        yield client


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def submit(
    harness: IngestHarness,
    message: bytes = MESSAGE,
    *,
    sender: str = f"bounces@{DOMAIN}",
    to: Sequence[str] = RECIPIENTS,
    connect: Any = starttls,  # noqa: ANN401 - a context manager
    key: str = "",
) -> tuple[int, bytes]:
    """The reply to the message, or to the command that was refused."""
    with connect(harness) as client:
        client.login("key", key or harness.key)
        client.ehlo_or_helo_if_needed()
        try:
            for command in (lambda: client.mail(sender), *_rcpts(client, to)):
                code, text = command()
                if code != 250:
                    return code, text
            code, text = client.data(message)
            return code, text
        finally:
            client.rset()


def _rcpts(client: smtplib.SMTP, to: Sequence[str]) -> list[Callable[[], tuple[int, bytes]]]:
    return [lambda one=one: client.rcpt(one) for one in to]  # type: ignore[misc]


def email_id(reply: bytes) -> str:
    return reply.decode().rpartition(" ")[2]


@pytest.mark.parametrize("connect", [starttls, implicit_tls])
async def test_a_message_by_smtp_is_accepted_for_each_recipient(
    harness: IngestHarness,
    connect: Any,  # noqa: ANN401 - a context manager
) -> None:
    harness.serve_submission()
    async with harness.shared():
        await harness.sign_up()
        code, text = await in_thread(lambda: submit(harness, connect=connect))
        assert code == 250, text
        accepted = await harness.accepted(email_id(text), 3)
        types = {one.context.recipient: one.context.recipient_type for one in accepted}
        assert types == {
            "a@one.example": RecipientType.RECIPIENT_TYPE_TO,
            "b@two.example": RecipientType.RECIPIENT_TYPE_CC,
            "c@three.example": RecipientType.RECIPIENT_TYPE_BCC,
        }
        assert all(one.context.test for one in accepted)
        assert accepted[0].subject == "Your  order"
        got = await harness.request("GET", f"/v1/emails/{email_id(text)}")
        assert got.json["from"] == f"Shop <hello@{DOMAIN}>"
        assert got.json["text"] == "It is on its way.\r\n"


def failures_of_smtp() -> float:
    return (
        metrics.registry.get_sample_value("obm_accept_failures_total", {"interface": "smtp"}) or 0
    )


async def test_what_a_caller_may_not_send_is_refused(harness: IngestHarness) -> None:
    harness.serve_submission()
    async with harness.shared():
        await harness.sign_up()
        foreign = MESSAGE.replace(DOMAIN.encode(), b"bank.example")
        no_from = MESSAGE.replace(b"From:", b"X-From:")
        hidden = b"X: y\rFrom: a@bank.example\r\n" + MESSAGE
        on_behalf = b"Sender: ceo@bank.example\r\n" + MESSAGE
        for change, wanted in (
            ({"sender": "a@bank.example"}, b"5.7.1"),
            ({"message": foreign}, b"5.7.1"),
            ({"message": on_behalf}, b"5.7.1"),
            ({"message": no_from}, b"5.6.0"),
            ({"message": hidden}, b"5.6.0"),
        ):
            code, text = await in_thread(lambda change=change: submit(harness, **change))  # type: ignore[misc]
            assert code >= 550, change
            assert text.startswith(wanted), change
        code, text = await in_thread(lambda: submit(harness, sender=""))
        assert code == 250, text


async def test_a_live_key_is_not_for_reserved_domains(harness: IngestHarness) -> None:
    harness.serve_submission()
    async with harness.shared():
        await harness.sign_up(test=False)
        code, text = await in_thread(lambda: submit(harness))
        assert (code, text[:5]) == (550, b"5.1.2")


async def test_an_idempotency_key_makes_one_email_and_is_not_sent(harness: IngestHarness) -> None:
    harness.serve_submission()
    keyed = b"Idempotency-Key: order-17\r\n" + MESSAGE
    async with harness.shared():
        await harness.sign_up()
        first = await in_thread(lambda: submit(harness, keyed))
        again = await in_thread(lambda: submit(harness, keyed))
        other = await in_thread(lambda: submit(harness, keyed + b"more\r\n"))
        assert first == again
        assert (other[0], other[1][:5]) == (554, b"5.6.0")


async def test_a_key_that_is_deleted_is_refused_in_an_open_session(
    harness: IngestHarness,
) -> None:
    harness.serve_submission()
    async with harness.shared():
        key = await harness.sign_up()
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            await in_thread(lambda: submit(harness, key=key[:-1]))
        assert caught.value.smtp_code == 535
        with ExitStack() as stack:
            client = await in_thread(lambda: stack.enter_context(starttls(harness)))
            await in_thread(lambda: client.login("key", key))
            assert (
                await in_thread(lambda: client.sendmail(f"a@{DOMAIN}", RECIPIENTS, MESSAGE)) == {}
            )
            async with harness.directory() as directory:
                [stored] = await directory.store.list_of_tenant(ApiKey, harness.tenant_id)
                stored.deleted = True
                await directory.store.save(stored)
            refused: list[smtplib.SMTPDataError] = []

            async def is_refused() -> bool:  # how soon: test_ingest_in_force
                try:
                    await in_thread(lambda: client.sendmail(f"a@{DOMAIN}", RECIPIENTS, MESSAGE))
                except smtplib.SMTPDataError as error:
                    refused.append(error)
                return bool(refused)

            await until(is_refused)
            assert refused[0].smtp_code == 530
            await in_thread(stack.close)


async def test_a_message_that_is_not_accepted_by_a_fault_of_ours_is_counted(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    harness.serve_submission()
    async with harness.running():
        await harness.sign_up()
        before = failures_of_smtp()
        code, text = await in_thread(lambda: submit(harness, b"no From\r\n"))
        assert code >= 550, text
        assert failures_of_smtp() == before  # theirs
        monkeypatch.setattr(Acceptance, "accept", fail)
        code, text = await in_thread(lambda: submit(harness))
        assert code == 451, text
        assert failures_of_smtp() == before + 1
