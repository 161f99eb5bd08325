import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindOpenResponse
from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.router.v1.router_service_pb2 import ReconcileResponse, RepublishClosedResponse
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel import clock
from kernel.errors import Unavailable
from services.ingest.loops.message_audit import (
    MessageAudit,
    MessageAuditConfig,
    MessageAuditConsumers,
)
from services.ingest.store.message_audit import MessageDueForAudit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


class FakeDependencies:
    """The dependencies of the audit. The router knows no message, the log no close."""

    def __init__(self, due: Sequence[MessageDueForAudit]) -> None:
        self.open = list(due)
        self.fence, self.stub = 1, self
        self.Reconcile = self.FindOpen = self.RepublishClosed = None
        self.router = self.events = self
        self.behind: set[str] = set()
        self.unavailable = False
        self.waiting_s = 0.0
        self.checked: list[str] = []
        self.times: dict[str, datetime | None] = {}
        self.republished: list[str] = []
        self.closes_republished: list[str] = []

    async def due(self, count: int) -> list[MessageDueForAudit]:
        taken, self.open = self.open[:count], self.open[count:]
        return taken

    async def postpone(self, _: object, times: dict[str, datetime | None]) -> None:
        self.times |= times

    async def call(self, _: object, request: Any, *, deadline_s: float) -> Message:  # noqa: ANN401
        kind = type(request).__name__
        if kind == "ReconcileRequest":
            return ReconcileResponse(republish_ids=[one.message_id for one in request.contexts])
        if kind == "FindOpenRequest":
            return FindOpenResponse(message_ids=request.message_ids)
        self.closes_republished += request.message_ids
        return RepublishClosedResponse(republished_ids=request.message_ids)

    async def has_consumed(self, group: str, event: type[Message], *, before: datetime) -> bool:
        if self.unavailable:
            raise Unavailable("kafka")
        assert before == NOW - TEN_MINUTES
        self.checked.append(group)
        return group not in self.behind

    async def backlog(self) -> tuple[int, float]:
        return 1, self.waiting_s

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    async def add(self, _: object, records: Sequence[Any]) -> None:
        self.republished += [MessageAccepted.FromString(one.value).message_id for one in records]

    async def publish(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def due(name: str, *, age: timedelta, closed: timedelta | None = None) -> MessageDueForAudit:
    accepted = MessageAccepted(message_id=name, priority=PRIORITY_EXPRESS)
    accepted.context.message_id = name
    accepted.context.accepted_at.FromDatetime(NOW - age)
    return MessageDueForAudit(name, None if closed is None else NOW - closed, accepted)


def run_audit(dependencies: Any, *, republish_max: int = 1_000) -> None:  # noqa: ANN401
    audit = MessageAudit(
        dependencies,
        dependencies,
        dependencies,
        consumers=MessageAuditConsumers(
            [(MessageAccepted, "shield"), (MessageScreened, "router")], [(MessageClosed, "events")]
        ),
        lease=dependencies,
        outbox=dependencies,
        kafka=dependencies,
        config=MessageAuditConfig(10, TEN_MINUTES, republish_max, TEN_MINUTES),
    )
    asyncio.run(audit.run_once())


@pytest.mark.parametrize(("minutes", "next_in"), [(5, 10), (10, 10), (40, 40), (600, 600)])
def test_the_interval_between_repairs_of_an_unknown_message_doubles(
    minutes: int, next_in: int
) -> None:
    dependencies = FakeDependencies([due("m", age=timedelta(minutes=minutes))])

    run_audit(dependencies)

    assert dependencies.republished == ["m"]
    assert dependencies.times == {"m": NOW + timedelta(minutes=next_in)}


def test_the_interval_between_repairs_of_an_unknown_close_doubles_from_the_close() -> None:
    day = timedelta(days=1)
    dependencies = FakeDependencies([due("m", age=day, closed=timedelta(minutes=20))])

    run_audit(dependencies)

    assert dependencies.closes_republished == ["m"]
    assert dependencies.times == {"m": NOW + timedelta(minutes=20)}


def test_a_run_republishes_at_most_its_budget_and_the_rest_waits() -> None:
    dependencies = FakeDependencies([due(f"{n}", age=TEN_MINUTES) for n in range(25)])

    run_audit(dependencies, republish_max=12)

    assert dependencies.republished == [f"{n}" for n in range(12)]
    assert len(dependencies.times) == 25
    assert dependencies.checked == ["shield", "router"]  # once per run_audit


@pytest.mark.parametrize("behind", ["shield", "router"])
def test_nothing_is_republished_while_a_consumer_lags(behind: str) -> None:
    dependencies = FakeDependencies(
        [due("m", age=TEN_MINUTES), due("c", age=TEN_MINUTES, closed=TEN_MINUTES)]
    )
    dependencies.behind = {behind}

    run_audit(dependencies)

    assert (dependencies.republished, dependencies.closes_republished) == ([], ["c"])
    assert set(dependencies.times) == {"m", "c"}


def test_no_close_is_republished_while_the_event_log_lags() -> None:
    dependencies = FakeDependencies(
        [due("m", age=TEN_MINUTES), due("c", age=TEN_MINUTES, closed=TEN_MINUTES)]
    )
    dependencies.behind = {"events"}

    run_audit(dependencies)

    assert (dependencies.republished, dependencies.closes_republished) == (["m"], [])


@pytest.mark.parametrize(("unavailable", "waiting_s"), [(True, 0.0), (False, 601.0)])
def test_nothing_is_republished_while_kafka_is_unavailable_or_the_outbox_is_full(
    unavailable: bool, waiting_s: float
) -> None:
    dependencies = FakeDependencies([due("m", age=TEN_MINUTES)])
    dependencies.unavailable, dependencies.waiting_s = unavailable, waiting_s

    run_audit(dependencies)

    assert dependencies.republished == []
    assert set(dependencies.times) == {"m"}
