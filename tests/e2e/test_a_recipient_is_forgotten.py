"""A recipient asks to be forgotten: what is left are counts, and that the address is suppressed."""

import asyncio
import base64
import signal
import time
import uuid
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.support.receiver import Receiver, receiving
from tests.support.returned_mail import complaint, hand_in
from tests.support.returning_engine import DOMAIN, FEEDBACK, WITHIN_S, World, returning_world
from tests.support.traces import bodies_of, tables_with, topics_with

ANN = "Ann.Lee+news@receiver-lab.net"
BOB = "bob@receiver-lab.net"
DAY_MS = 24 * 3600 * 1000
COUNTS = "accepted,sent,delivered,complained,bounced"


@pytest.fixture(scope="module")
def world(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:  # fmt: skip
    with returning_world(
        tmp_path_factory.mktemp("erasure"), bootstrap_servers=bootstrap_servers,
        database_url=database_url, template=migrated_template,
        more={"INGEST_ERASURE_SETTLE_S": "1", "INGEST_ERASURE_INTERVAL_S": "0.2"},
    ) as found:  # fmt: skip
        yield found


def erase(world: World, address: str) -> dict[str, Any]:
    response = world.api.delete(f"/recipients/{quote(address, safe='')}")
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/erasures/{response.json()['id']}"
    return dict(response.json())


def await_erased(world: World, erasure: dict[str, Any]) -> dict[str, Any]:
    until_s = time.monotonic() + WITHIN_S
    while True:
        found = world.api.get(f"/erasures/{erasure['id']}").json()
        if found["status"] == "completed":
            return dict(found)
        assert time.monotonic() < until_s, found
        time.sleep(0.2)


def await_no_trace(world: World, address: str) -> None:
    """Records that were published leave the outbox within seconds; everything else is gone."""
    until_s = time.monotonic() + WITHIN_S
    while left := tables_with(world.database, address):
        assert all(one.endswith(".outbox") for one in left), left
        assert time.monotonic() < until_s, left
        time.sleep(0.5)


def content_of(world: World) -> Path:
    return Path(world.engine.environment["OBM_CONTENT_STORE_URL"].removeprefix("file://"))


def send(world: World, *to: str, **more: str) -> str:
    email = {
        "from": f"shop@{DOMAIN}",
        "to": list(to),
        "subject": f"For {base64.b64encode(ANN.encode()).decode()}",
        "html": f'<a href="https://shop.example/?to={quote(ANN)}">Hello</a>',
        **more,
    }
    return str(world.api.post("/emails", json=email).raise_for_status().json()["id"])


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=(await request.json())["data"].get("recipient", ""))


def test_nothing_of_a_recipient_is_left_but_counts(world: World, bootstrap_servers: str) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            receiver.behaviors["/hook"] = echo
            hook = {"endpoint": f"{receiver.url}/hook"}
            world.api.post("/webhooks", json=hook).raise_for_status()
            await asyncio.to_thread(forget_ann, world, receiver)
        prefix = world.engine.environment["OBM_KAFKA_TOPIC_PREFIX"]
        topics = await topics_with(bootstrap_servers, prefix, ANN)
        assert f"{prefix}ingest.message-accepted.v1.express" in topics
        for name, settings in topics.items():
            assert settings["cleanup.policy"] == "delete", name
            assert int(settings["retention.ms"]) <= 7 * DAY_MS, name
            assert int(settings["segment.ms"]) <= DAY_MS, name

    asyncio.run(scenario())


def forget_ann(world: World, receiver: Receiver) -> None:
    subject = f"Offer {uuid.uuid4()}"
    complained = world.send(ANN, subject)
    message = message_from_bytes(world.arrived(subject))
    both = send(world, ANN, BOB)
    later = send(world, ANN, scheduled_at="in 20 days")
    for one in (complained, both):
        world.await_event(one, "email.delivered")
    header = f"X-Report-Token: {message['X-Report-Token']}\nMessage-ID: {message['Message-ID']}"
    assert hand_in(world.port, complaint(FEEDBACK, header), FEEDBACK)[0] == 250
    world.await_event(complained, "email.complained")
    await_hooks(receiver, 4)
    world.await_rated(5)
    assert world.suppression(ANN).json()["origin"] == "complaint"
    before = await_counts(world, delivered=3, complained=1)
    had = tables_with(world.database, ANN)
    assert {"events.webhook_deliveries", "router.suppressions"} <= had
    assert any(one.startswith("delivery.attempts_") for one in had)
    refused = world.api.delete("/recipients/nobody")
    assert refused.json()["errors"][0]["pointer"] == "#/path/address"

    done = await_erased(world, erase(world, ANN.upper()))

    assert done["messages"] == 3
    await_no_trace(world, ANN)
    bodies = bodies_of(world.database, content_of(world), [complained, both, later])
    assert all(body and not body.strip(b"\0") for body in bodies)
    after = await_counts(world, delivered=3, complained=1)
    assert after == before
    assert "email.canceled" in [one["type"] for one in world.events(later)]
    recipients = {one["recipient"] for one in world.events(both)}
    assert recipients == {"erased", BOB}
    assert world.api.get(f"/emails/{both}").json()["to"] == ["erased", BOB]
    world.await_event(world.send(ANN), "email.suppressed")
    kept = world.suppression(ANN).json()
    assert (kept["email"], kept["origin"]) == ("", "complaint")
    listed = world.api.get("/erasures").json()["data"]
    assert [one["id"] for one in listed] == [done["id"]]


def await_hooks(receiver: Receiver, count: int) -> None:
    until_s = time.monotonic() + WITHIN_S
    while len(receiver.at("/hook")) < count:
        assert time.monotonic() < until_s
        time.sleep(0.1)


def await_counts(world: World, **wanted: int) -> dict[str, int]:
    until_s = time.monotonic() + WITHIN_S
    while True:
        found = world.api.get("/emails/metrics", params={"metrics": COUNTS}).json()["totals"]
        if all(found[name] == number for name, number in wanted.items()):
            return dict(found)
        assert time.monotonic() < until_s, found
        time.sleep(0.2)


PLACES = (
    ("ingest", "ingest.erasure.canceled"),
    ("ingest", "ingest.erasure.router"),
    ("ingest", "ingest.erasure.delivery"),
    ("ingest", "ingest.erasure.content"),
    ("ingest", "ingest.erasure.ingest"),
    ("events", "events.erasure.in_transaction"),
    ("ingest", "ingest.erasure.events"),
    ("ingest", "ingest.erasure.suppressions"),
    ("ingest", "ingest.erasure.audit_log"),
)


@pytest.mark.parametrize(("service", "place"), PLACES)
def test_an_erasure_survives_the_end_of_a_process(world: World, service: str, place: str) -> None:
    address = f"{uuid.uuid4().hex}@receiver-lab.net"
    sent = world.send(address)
    world.await_event(sent, "email.delivered")
    waiting = send(world, address, scheduled_at="in 20 days")
    world.api.post("/suppressions", json={"email": address}).raise_for_status()
    until_s = time.monotonic() + WITHIN_S
    while "events.unpartitioned_log" not in tables_with(world.database, address):
        assert time.monotonic() < until_s, "the suppression is not in the log"
        time.sleep(0.2)
    process = world.engine.processes[service]
    process.terminate()
    process.start(OBM_FAILPOINTS=f"{place}=kill")
    process.await_ready()
    erasure = erase(world, address)
    assert process.wait() == -signal.SIGKILL
    process.start()
    process.await_ready()
    await_erased(world, erasure)
    await_no_trace(world, address)
    bodies = bodies_of(world.database, content_of(world), [sent, waiting])
    assert all(not body.strip(b"\0") for body in bodies)
    assert world.suppression(address).json()["email"] == ""
