"""A server accepts a message and returns it later; a recipient complains to its provider. One
trace shows the way of a message."""

import asyncio
import signal
import smtplib
import time
import uuid
from collections.abc import Iterator
from email import message_from_bytes

import httpx
import pytest

from cli.environment import SERVICES
from cli.smtp_dialogue import reply_to_recipient
from mail import verp
from services.delivery.domain.return_path_challenge import challenge_address, is_reply_with
from tests.support.accounts import keys_of_callers
from tests.support.background import in_background
from tests.support.engine import until
from tests.support.provider_reports import provider_reports, returning
from tests.support.receiver import Receiver, receiving
from tests.support.returned_mail import bounce, complaint, hand_in
from tests.support.returning_engine import (
    BOUNCED,
    COMPLAINED,
    DOMAIN,
    FEEDBACK,
    WITHIN_S,
    World,
    returning_world,
)
from tests.support.trace_collector import TraceCollector, trace_collector

CALLER = "b7ad6b7169203331"  # the span of the request's client
# The way of a message that is delivered at once, as far as one span must follow another.
WAY = [
    "ingest.accept",
    "process ingest.message-accepted.v1.express",
    "process shield.message-screened.v1.express",
    "router.assign",
    "process router.delivery-assigned.v1.express",
    "delivery.attempt",
    "process delivery.delivery-attempted.v1",
    "process router.message-closed.v1",
]


@pytest.fixture(scope="module")
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as found:
        yield found


@pytest.fixture(scope="module")
def world(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory, collector: TraceCollector,
) -> Iterator[World]:  # fmt: skip
    tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": "0"}
    with returning_world(
        tmp_path_factory.mktemp("returns"), bootstrap_servers=bootstrap_servers,
        database_url=database_url, template=migrated_template, more=tracing,
    ) as found:  # fmt: skip
        yield found


def test_one_trace_shows_the_way_of_a_message(world: World, collector: TraceCollector) -> None:
    trace_id = uuid.uuid4().hex
    email = {"from": f"shop@{DOMAIN}", "to": "tom@receiver-lab.net", "subject": "Hi", "text": "Hi"}
    with in_background(receiving()) as receiver:
        hook = world.api.post("/webhooks", json={"endpoint": f"{receiver.url}/traced"})
        traced = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
        world.api.post("/emails", json=email, headers=traced).raise_for_status()
        until(lambda: bool(webhook_statuses(collector, trace_id)))
        until(lambda: {*WAY} <= {one.name for one in collector.spans_of(trace_id)})
        until(lambda: without_parent(collector, trace_id) == [])  # each service exports its own
        world.api.delete(f"/webhooks/{hook.json()['id']}").raise_for_status()

    spans = collector.spans_of(trace_id)
    assert [one.name for one in spans if one.parent_id == CALLER] == ["ingest.accept"]
    first = {one.name: one.began_ns for one in reversed(spans)}
    assert sorted(WAY, key=lambda name: first[name]) == WAY
    assert {one.service for one in spans} == {f"obm-{name}" for name in SERVICES}
    [attempt] = [one for one in spans if one.name == "delivery.attempt"]
    assert attempt.attributes["smtp.reply.code"] == "250"
    assert {*webhook_statuses(collector, trace_id)} == {"200"}


def test_the_return_path_proves_whose_it_is(world: World) -> None:
    key = keys_of_callers(world.engine.environment)["accounts"]
    made = httpx.post(
        f"{world.engine.url}/health/challenges", headers={"Authorization": f"Bearer {key}"}
    )
    given = made.raise_for_status().json()
    recipient = challenge_address(given["challenge"], DOMAIN)
    reply = reply_to_recipient("127.0.0.1", world.port, recipient)
    assert is_reply_with(reply, given["responses"])


def without_parent(collector: TraceCollector, trace_id: str) -> list[str]:
    """Names of spans whose parent is unknown so far."""
    spans = collector.spans_of(trace_id)
    parents = {CALLER, *(one.id for one in spans)}
    return [one.name for one in spans if one.parent_id not in parents]


def webhook_statuses(collector: TraceCollector, trace_id: str) -> list[str]:
    spans = [one for one in collector.spans_of(trace_id) if one.name == "webhook.attempt"]
    return [one.attributes["http.response.status_code"] for one in spans]


def test_a_server_returns_what_it_had_accepted(world: World) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            hook = {"endpoint": f"{receiver.url}/hook"}
            world.api.post("/webhooks", json=hook).raise_for_status()
            await asyncio.to_thread(return_and_check, world, receiver)

    asyncio.run(scenario())


def return_and_check(world: World, receiver: Receiver) -> None:
    sent = world.send("ann@gone-lab.net")
    event = world.await_event(sent, "email.bounced", late=True)
    assert event["data"]["bounce"]["class"] == "invalid_recipient"
    assert event["data"]["bounce"]["code"] == 550
    assert "email.delivered" in [one["type"] for one in world.events(sent)]
    again = world.send("Ann@gone-lab.net")
    world.await_event(again, "email.suppressed")
    assert world.suppression("ann@gone-lab.net").json()["origin"] == "bounce"
    world.await_rated(BOUNCED)
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        hooks = [one.json for one in receiver.at("/hook") if one.json["type"] == "email.bounced"]
        if hooks:
            break
        time.sleep(0.1)
    [hook] = hooks
    assert hook["data"]["email_id"] == sent
    assert hook["data"]["bounce"]["async"] is True


def test_a_complaint_suppresses_its_recipient(world: World) -> None:
    """Its report has the header alone, without Return-Path."""
    subject = f"Offer {uuid.uuid4()}"
    sent = world.send("bob@receiver-lab.net", subject)
    message = message_from_bytes(world.arrived(subject))
    world.await_event(sent, "email.delivered")
    header = f"X-Report-Token: {message['X-Report-Token']}\nMessage-ID: {message['Message-ID']}"
    assert hand_in(world.port, complaint(FEEDBACK, header), FEEDBACK)[0] == 250
    event = world.await_event(sent, "email.complained")
    assert event["data"]["complaint"]["feedback_type"] == "abuse"
    world.await_event(world.send("bob@receiver-lab.net"), "email.suppressed")
    assert world.suppression("bob@receiver-lab.net").json()["origin"] == "complaint"
    world.await_rated(COMPLAINED)


def test_a_report_that_a_provider_wrote_suppresses_its_recipient(world: World) -> None:
    recipient, subject = f"{uuid.uuid4().hex}@receiver-lab.net", f"Offer {uuid.uuid4()}"
    sent = world.send(recipient, subject)
    message = message_from_bytes(world.arrived(subject))
    world.await_event(sent, "email.delivered")
    report = returning(provider_reports()[0], message["X-Report-Token"])
    assert (
        hand_in(world.port, report.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), FEEDBACK)[0]
        == 250
    )
    world.await_event(sent, "email.complained")
    world.await_event(world.send(recipient), "email.suppressed")


@pytest.mark.parametrize(
    ("place", "acknowledged"),
    [
        ("delivery.return_path.recorded", False),
        ("delivery.return_path.committed", False),
        ("delivery.outbox.committed", True),
    ],
)
def test_a_bounce_survives_the_end_of_the_process(
    world: World, place: str, acknowledged: bool
) -> None:
    """What has no reply is sent again, and counts once; what has one is not lost."""
    subject = f"Order {uuid.uuid4()}"
    recipient = f"{uuid.uuid4().hex}@receiver-lab.net"
    sent = world.send(recipient, subject)
    path = message_from_bytes(world.arrived(subject))["Return-Path"].strip("<>")
    assert verp.token_of(path)
    world.await_event(sent, "email.delivered")
    delivery = world.engine.processes["delivery"]
    delivery.terminate()
    delivery.start(OBM_FAILPOINTS=f"{place}=kill")
    delivery.await_ready()
    mail = bounce(path, recipient)
    try:
        replied = hand_in(world.port, mail, path)[0] == 250
    except (smtplib.SMTPException, OSError):
        replied = False
    assert delivery.wait() == -signal.SIGKILL
    assert acknowledged or not replied
    delivery.start()
    delivery.await_ready()
    if not replied:
        assert hand_in(world.port, mail, path)[0] == 250
    event = world.await_event(sent, "email.bounced", late=True)
    assert event["data"]["bounce"]["class"] == "invalid_recipient"
    until_s = time.monotonic() + WITHIN_S
    while world.suppression(recipient).status_code != 200:
        assert time.monotonic() < until_s
        time.sleep(0.1)
    assert [one["type"] for one in world.events(sent)].count("email.bounced") == 1


def test_mail_to_abuse_reaches_the_operator_once(world: World) -> None:
    """The process ends after it has forwarded the mail and before its reply, so it comes again."""
    settings = {
        "DELIVERY_API_URL": f"{world.engine.url}",
        "DELIVERY_API_KEY": world.api.headers["Authorization"].removeprefix("Bearer "),
        "DELIVERY_OPERATOR_MAIL_TO": "ops@receiver-lab.net",
        "DELIVERY_OPERATOR_MAIL_FROM": f"engine@{DOMAIN}",
    }
    delivery = world.engine.processes["delivery"]
    delivery.terminate()
    delivery.start(**settings, OBM_FAILPOINTS="delivery.return_path.forwarded=kill")
    delivery.await_ready()
    subject, to = f"Spam {uuid.uuid4().hex[:8]}", f"abuse@bounce.{DOMAIN}"
    mail = f"From: a@receiver-lab.net\r\nSubject: {subject}\r\n\r\nStop.\r\n".encode()
    with pytest.raises((smtplib.SMTPException, OSError)):
        hand_in(world.port, mail, to, sender="a@receiver-lab.net")
    assert delivery.wait() == -signal.SIGKILL
    delivery.start(**settings)
    delivery.await_ready()
    assert hand_in(world.port, mail, to, sender="a@receiver-lab.net")[0] == 250
    arrived = message_from_bytes(world.arrived(f"[{to}] {subject}"))
    assert arrived["From"] == f"engine@{DOMAIN}"
    emails = world.api.get("/emails").raise_for_status().json()["data"]
    assert len([one for one in emails if subject in one["subject"]]) == 1
    delivery.terminate()
    delivery.start()
    delivery.await_ready()
