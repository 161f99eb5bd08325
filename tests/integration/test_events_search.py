"""The search in the log on real Kafka and PostgreSQL: what it finds, and pages while new events
arrive."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import EventFilter, ListEventsRequest, LoggedEvent
from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED
from kernel import clock
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from services.events.loops.account_backfill import AccountBackfill
from services.events.store import search
from tests.support.events import Running, ScenarioRunner, run_scenario
from tests.support.message_events import DEFERRED, REFUSED, MessageEvents, stamp

__all__ = ["run_scenario"]


async def find(events: Running, owner: dict[str, Any], **wanted: Any) -> list[LoggedEvent]:  # noqa: ANN401 - of a filter
    """All pages of a search."""
    request = ListEventsRequest(**owner, limit=3)
    for name in ("since", "until", "test_only", "limit"):
        if name in wanted:
            value = wanted.pop(name)
            if isinstance(value, Timestamp):
                getattr(request, name).CopyFrom(value)
            else:
                setattr(request, name, value)
    request.filter.CopyFrom(EventFilter(**wanted))
    found: list[LoggedEvent] = []
    while True:
        response = await events.call(events.stub.ListEvents, request)
        found += response.events
        assert response.has_more == bool(response.next)
        if not response.next:
            return found
        request.after = response.next


def types(found: Sequence[LoggedEvent]) -> list[str]:
    return [one.type for one in found]


async def record(events: Running, *messages: MessageEvents) -> None:
    await events.publish_in_order(*(event for one in messages for event in one.delivered()))
    for message in messages:
        await events.wait_recorded(message, 5)


CHOSEN = "550e8400-e29b-41d4-a716-446655440000"
OF_ANN = {"email.sent", "email.delivered", "email.complained"}
OF_BOB = {"email.sent", "email.delivery_delayed", "email.bounced"}
FOUND: list[tuple[dict[str, Any], set[str]]] = [
    ({"to": "ann@Example.net"}, OF_ANN),
    ({"domain": "example.org"}, OF_BOB),
    ({"domain": "le.org"}, set()),
    ({"tag": "kind:order"}, OF_ANN),
    ({"types": ["email.bounced"]}, {"email.bounced"}),
    ({"types": ["email.bounced", "email.complained"]}, {"email.bounced", "email.complained"}),
    ({"site": "gmail"}, {"email.bounced"}),
    ({"bounce_class": "invalid_recipient"}, {"email.bounced"}),
    ({"message_id": f"<{CHOSEN}@shop.example>"}, OF_BOB),
    ({"message_id": f"{CHOSEN}@shop.example"}, OF_BOB),
    ({"to": "ann@example.net", "types": ["email.bounced"]}, set()),
    ({}, OF_ANN | OF_BOB),
]


async def record_ann_and_bob(events: Running, tenant: str) -> MessageEvents:
    ann = MessageEvents("Ann@example.net", tenant_id=tenant, tags={"kind": "order"})
    bob = MessageEvents("bob@example.org", tenant_id=tenant)
    bob.own_message_id = f"<{CHOSEN}@shop.example>"
    await events.publish_in_order(*ann.delivered(), ann.complained())
    refused = bob.closed(CLOSED_STATE_BOUNCED, reply=REFUSED)
    refused.site = "gmail"
    await events.publish(
        bob.accepted(), bob.screened(), bob.assigned(), bob.attempted(reply=DEFERRED), bob.delayed()
    )
    await events.wait_recorded(bob, 5)  # a delay is not told once its message is closed
    await events.publish(bob.assigned(2), bob.attempted(2, reply=REFUSED), refused)
    await events.wait_recorded(ann, 6)
    await events.wait_recorded(bob, 8)
    return ann


@pytest.mark.parametrize("narrow", [True, False])
def test_every_filter_finds_its_events(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch, *, narrow: bool
) -> None:
    """Whether their messages come from an index of messages, or the owner's events are read."""
    if not narrow:
        monkeypatch.setattr(search, "MESSAGES_MAX", 0)
        monkeypatch.setattr(search, "SCANNED", (2, 3))

    async def scenario(events: Running) -> None:
        mine = {"tenant_id": uuid7_text()}
        ann = await record_ann_and_bob(events, mine["tenant_id"])
        for wanted, expected in FOUND:
            found = await find(events, mine, **wanted)
            assert set(types(found)) == expected, wanted
            ids = [one.id for one in found]
            assert ids == sorted({*ids}, reverse=True)
        for message_id in (ann.message_id, f"<{ann.message_id}@shop.example>"):
            found = await find(events, mine, message_id=message_id)
            assert {one.message_id for one in found} == {ann.message_id}

    run_scenario.shared(scenario)


def test_events_are_found_by_the_time_of_their_recording(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = {"tenant_id": uuid7_text()}
        await record_ann_and_bob(events, mine["tenant_id"])
        now = clock.now()
        ago, later = (stamp(now + timedelta(hours=hours)) for hours in (-1, 1))
        for wanted, count in (({}, 6), ({"to": "ann@example.net"}, 3)):
            assert len(await find(events, mine, since=ago, until=later, **wanted)) == count
            assert await find(events, mine, until=ago, **wanted) == []
            assert await find(events, mine, since=later, **wanted) == []

    run_scenario.shared(scenario)


def test_no_event_is_missing_or_repeated_while_new_ones_arrive(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        tenant = uuid7_text()
        messages = [MessageEvents(f"a{n}@example.net", tenant_id=tenant) for n in range(6)]
        await record(events, *messages)
        for wanted in ({}, {"domain": "example.net"}):
            request = ListEventsRequest(tenant_id=tenant, limit=2, filter=EventFilter(**wanted))
            found: list[str] = []
            before = {one.id for one in await find(events, {"tenant_id": tenant}, **wanted)}
            while True:
                response = await events.call(events.stub.ListEvents, request)
                found += [one.id for one in response.events]
                late = MessageEvents("late@example.net", tenant_id=tenant)
                await record(events, late)
                await events.publish(messages[0].complained())  # an event of the oldest message
                if not response.next:
                    break
                request.after = found[-1] if len(found) % 4 else response.next
            assert len(found) == len(set(found))
            assert before == set(found)

    run_scenario.shared(scenario)


def test_an_account_searches_all_its_tenants_and_no_others(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        account = uuid7_text()
        first, second = MessageEvents(account_id=account), MessageEvents(account_id=account)
        foreign = MessageEvents(account_id=uuid7_text())
        await record(events, first, second, foreign)
        await events.publish(second.complained())
        await events.wait_recorded(second, 6)
        own = {"account_id": account}
        found = await find(events, own)
        assert {one.tenant_id for one in found} == {first.tenant_id, second.tenant_id}
        assert len(found) == 5
        assert {one.message_id for one in await find(events, own, to="ann@example.net")} == {
            first.message_id, second.message_id,
        }  # fmt: skip
        assert await find(events, own, message_id=foreign.message_id) == []
        assert (
            await find(events, {"tenant_id": first.tenant_id}, message_id=second.message_id) == []
        )
        assert types(await find(events, own, types=["email.complained"])) == ["email.complained"]

    run_scenario.shared(scenario)


def test_events_before_the_account_is_known_get_it_later(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        account = uuid7_text()
        message = MessageEvents(account_id=account)
        await events.publish(message.assigned())
        await events.wait_recorded(message, 1)
        own = {"account_id": account}
        assert await find(events, own) == []
        await events.publish(message.accepted(), message.complained())
        await events.wait_recorded(message, 3)
        database = events.system_database()
        await AccountBackfill(database).run_once()
        await database.close()
        assert sorted(types(await find(events, own))) == ["email.complained", "email.sent"]

    run_scenario.shared(scenario)


def test_a_test_key_finds_test_mail_only(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        live = MessageEvents()
        trial = MessageEvents(tenant_id=live.tenant_id, test=True)
        await record(events, live, trial)
        for wanted in ({}, {"to": "ann@example.net"}, {"message_id": live.message_id}):
            found = await find(events, {"tenant_id": live.tenant_id}, test_only=True, **wanted)
            assert {one.message_id for one in found} <= {trial.message_id}
        assert len(await find(events, {"tenant_id": live.tenant_id}, test_only=True)) == 2

    run_scenario.shared(scenario)


def test_an_unknown_type_is_refused(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        with pytest.raises(RpcError, match="unknown type") as refused:
            await find(events, {"tenant_id": uuid7_text()}, types=["email.lost"])
        assert refused.value.field == "type"

    run_scenario.shared(scenario)
