"""Streams of events by REST and gRPC: each event once, over a reconnection, and only one's own."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import httpx
import pytest

from contracts.ingest.v1.email_service_pb2 import StreamEventsRequest
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceStub
from tests.support.engine import Engine
from tests.support.strangers import Caller, OwnedObjects, other, owner, stranger

__all__ = ["other", "owner", "stranger"]

EVENT = dict[str, str]
STREAM, DELIVERED = "/emails/events/stream", {"type": "email.delivered"}


def send(http: httpx.Client, name: str) -> str:
    email = {
        "from": f"a@{name}.obm-sandbox.net", "to": "delivered@obm-sandbox.net", "subject": "Now",
        "text": "x", "test": True,
    }  # fmt: skip
    return str(http.post("/emails", json=email).raise_for_status().json()["id"])


def messages(response: httpx.Response) -> Iterator[EVENT]:
    """The fields of each message of a stream (WHATWG HTML §9.2.6)."""
    fields: EVENT = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            yield fields
            fields = {}


def next_event(sent: Iterator[EVENT]) -> EVENT:
    return next(one for one in sent if "data" in one)


def email_of(event: EVENT) -> str:
    return str(json.loads(event["data"])["data"]["email_id"])


def test_a_stream_goes_on_after_the_last_event_that_was_received(owner: OwnedObjects) -> None:
    with owner.http.stream("GET", STREAM, params=DELIVERED) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        sent = messages(response)
        start = next(sent)
        assert "data" not in start
        first = send(owner.http, "owner")
        while email_of(received := next_event(sent)) != first:  # of mail before
            assert received["event"] == "email.delivered"
    while_away = send(owner.http, "owner")
    with owner.http.stream("GET", STREAM, headers={"Last-Event-ID": received["id"]}) as response:
        sent = messages(response)
        found = [(one["event"], email_of(one)) for one in (next_event(sent), next_event(sent))]
    assert found == [("email.sent", while_away), ("email.delivered", while_away)]
    with owner.http.stream("GET", STREAM, params={**DELIVERED, "after": start["id"]}) as response:
        sent = messages(response)
        while email_of(next_event(sent)) != first:
            pass


def test_a_stranger_receives_only_events_of_its_own(
    owner: OwnedObjects, other: OwnedObjects, stranger: Caller, engine: Engine
) -> None:
    with stranger.http.stream("GET", STREAM, params=DELIVERED) as response:
        sent = messages(response)
        start = next(sent)
        foreign = send(owner.http, "owner")
        since = {**DELIVERED, "after": start["id"]}
        with owner.http.stream("GET", STREAM, params=since) as own:
            assert email_of(next_event(messages(own))) == foreign  # it is recorded
        mine = send(other.http, "other")
        assert email_of(next_event(sent)) == mine
    address = engine.environment["INGEST_GRPC_LISTEN"]
    assert asyncio.run(first_email(address, start["id"], stranger)) == mine


async def first_email(address: str, token: str, caller: Caller) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        call = EmailServiceStub(channel).StreamEvents(
            StreamEventsRequest(page_token=token, type=["email.delivered"]),
            metadata=caller.metadata,
            timeout=120,
        )
        async for response in call:
            assert response.next_page_token
            if response.HasField("event"):
                return str(response.event.data["email_id"])
    raise AssertionError("the stream has ended")


def test_a_tenant_has_a_limited_number_of_streams(owner: OwnedObjects, other: OwnedObjects) -> None:
    with ExitStack() as exits:
        opened = [
            messages(exits.enter_context(owner.http.stream("GET", STREAM))) for _ in range(10)
        ]
        assert all("id" in next(sent) for sent in opened)
        refused = owner.http.get(STREAM)
        assert (refused.status_code, refused.json()["name"]) == (429, "rate_limit_exceeded")
        assert "retry-after" in refused.headers
        with other.http.stream("GET", STREAM) as response:
            assert response.status_code == 200
    with owner.http.stream("GET", STREAM) as response:
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("params", "status"),
    [({"type": "email.lost"}, 422), ({"after": "x"}, 404), ({"limit": 3}, 422)],
)
def test_what_cannot_be_streamed_is_refused(
    owner: OwnedObjects, params: dict[str, str], status: int
) -> None:
    refused = owner.http.get(STREAM, params=params)
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/json"
