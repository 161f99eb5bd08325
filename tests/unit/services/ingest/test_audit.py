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
from services.ingest.loops.audit import Audit, AuditConfig, AuditConsumers
from services.ingest.store.audit import DueAudit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


class Surroundings:
    """Everything that the audit asks. The router knows nothing, the log nothing as closed."""

    def __init__(self, due: Sequence[DueAudit]) -> None:
        self.open = list(due)
        self.fence, self.stub = 1, self
        self.Reconcile = self.FindOpen = self.RepublishClosed = None
        self.router = self.events = self
        self.behind: set[str] = set()
        self.away = False
        self.waiting_s = 0.0
        self.looked: list[str] = []
        self.times: dict[str, datetime | None] = {}
        self.republished: list[str] = []
        self.closes_republished: list[str] = []

    async def due(self, count: int) -> list[DueAudit]:
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
        if self.away:
            raise Unavailable("kafka")
        assert before == NOW - TEN_MINUTES
        self.looked.append(group)
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


def due(name: str, *, age: timedelta, closed: timedelta | None = None) -> DueAudit:
    accepted = MessageAccepted(message_id=name, priority=PRIORITY_EXPRESS)
    accepted.context.message_id = name
    accepted.context.accepted_at.FromDatetime(NOW - age)
    return DueAudit(name, None if closed is None else NOW - closed, accepted)


def run_audit(surroundings: Any, *, republish_max: int = 1_000) -> None:  # noqa: ANN401
    audit = Audit(
        surroundings,
        surroundings,
        surroundings,
        consumers=AuditConsumers(
            [(MessageAccepted, "shield"), (MessageScreened, "router")], [(MessageClosed, "events")]
        ),
        lease=surroundings,
        outbox=surroundings,
        kafka=surroundings,
        config=AuditConfig(10, TEN_MINUTES, republish_max, TEN_MINUTES),
    )
    asyncio.run(audit.run_once())


@pytest.mark.parametrize(("minutes", "next_in"), [(5, 10), (10, 10), (40, 40), (600, 600)])
def test_a_message_that_stays_unknown_is_asked_about_half_as_often_each_time(
    minutes: int, next_in: int
) -> None:
    surroundings = Surroundings([due("m", age=timedelta(minutes=minutes))])

    run_audit(surroundings)

    assert surroundings.republished == ["m"]
    assert surroundings.times == {"m": NOW + timedelta(minutes=next_in)}


def test_a_close_that_stays_unknown_is_repeated_half_as_often_counted_from_the_close() -> None:
    day = timedelta(days=1)
    surroundings = Surroundings([due("m", age=day, closed=timedelta(minutes=20))])

    run_audit(surroundings)

    assert surroundings.closes_republished == ["m"]
    assert surroundings.times == {"m": NOW + timedelta(minutes=20)}


def test_a_look_tells_no_more_than_its_budget_and_the_rest_waits_its_turn() -> None:
    surroundings = Surroundings([due(f"{n}", age=TEN_MINUTES) for n in range(25)])

    run_audit(surroundings, republish_max=12)

    assert surroundings.republished == [f"{n}" for n in range(12)]
    assert len(surroundings.times) == 25
    assert surroundings.looked == ["shield", "router"]  # once in a run_audit


@pytest.mark.parametrize("behind", ["shield", "router"])
def test_nothing_is_told_again_while_a_reader_on_the_way_is_behind(behind: str) -> None:
    surroundings = Surroundings(
        [due("m", age=TEN_MINUTES), due("c", age=TEN_MINUTES, closed=TEN_MINUTES)]
    )
    surroundings.behind = {behind}

    run_audit(surroundings)

    assert (surroundings.republished, surroundings.closes_republished) == ([], ["c"])
    assert set(surroundings.times) == {"m", "c"}


def test_no_close_is_repeated_while_the_log_is_behind() -> None:
    surroundings = Surroundings(
        [due("m", age=TEN_MINUTES), due("c", age=TEN_MINUTES, closed=TEN_MINUTES)]
    )
    surroundings.behind = {"events"}

    run_audit(surroundings)

    assert (surroundings.republished, surroundings.closes_republished) == (["m"], [])


@pytest.mark.parametrize(("away", "waiting_s"), [(True, 0.0), (False, 601.0)])
def test_nothing_is_told_again_while_the_broker_is_away_or_our_own_outbox_is_full(
    away: bool, waiting_s: float
) -> None:
    surroundings = Surroundings([due("m", age=TEN_MINUTES)])
    surroundings.away, surroundings.waiting_s = away, waiting_s

    run_audit(surroundings)

    assert surroundings.republished == []
    assert set(surroundings.times) == {"m"}
