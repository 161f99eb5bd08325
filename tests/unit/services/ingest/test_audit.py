import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.message import Message

from contracts.events.v1.events_service_pb2 import FindUnclosedResponse
from contracts.ingest.v1.events_pb2 import MESSAGE_CLASS_EXPRESS, MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.router.v1.router_service_pb2 import ReconcileResponse, RepeatClosedResponse
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel import clock
from kernel.errors import Unavailable
from services.ingest.loops.audit import Audit, Patience, Ways
from services.ingest.store.audit import Due

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


class Around:
    """Everything that the audit asks. The router knows nothing, the log nothing as closed."""

    def __init__(self, due: Sequence[Due]) -> None:
        self.open = list(due)
        self.fence, self.stub = 1, self
        self.Reconcile = self.FindUnclosed = self.RepeatClosed = None
        self.router = self.events = self
        self.behind: set[str] = set()
        self.away = False
        self.waiting_s = 0.0
        self.looked: list[str] = []
        self.times: dict[str, datetime | None] = {}
        self.told: list[str] = []
        self.repeated: list[str] = []

    async def due(self, count: int) -> list[Due]:
        taken, self.open = self.open[:count], self.open[count:]
        return taken

    async def put_off(self, _: object, times: dict[str, datetime | None]) -> None:
        self.times |= times

    async def ask(self, _: object, request: Any, *, deadline_s: float) -> Message:  # noqa: ANN401
        kind = type(request).__name__
        if kind == "ReconcileRequest":
            return ReconcileResponse(tell_again=[one.message_id for one in request.envelopes])
        if kind == "FindUnclosedRequest":
            return FindUnclosedResponse(message_ids=request.message_ids)
        self.repeated += request.message_ids
        return RepeatClosedResponse(repeated_ids=request.message_ids)

    async def has_read(self, group: str, event: type[Message], *, before: datetime) -> bool:
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
        self.told += [MessageAccepted.FromString(one.value).message_id for one in records]

    async def publish(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def due(name: str, *, age: timedelta, closed: timedelta | None = None) -> Due:
    accepted = MessageAccepted(message_id=name, message_class=MESSAGE_CLASS_EXPRESS)
    accepted.envelope.message_id = name
    accepted.envelope.accepted_at.FromDatetime(NOW - age)
    return Due(name, None if closed is None else NOW - closed, accepted)


def look(around: Any, *, told_max: int = 1_000) -> None:  # noqa: ANN401
    audit = Audit(
        around,
        around,
        around,
        ways=Ways(
            [(MessageAccepted, "shield"), (MessageScreened, "router")], [(MessageClosed, "events")]
        ),
        lease=around,
        outbox=around,
        kafka=around,
        patience=Patience(10, TEN_MINUTES, told_max, TEN_MINUTES),
    )
    asyncio.run(audit.look())


@pytest.mark.parametrize(("minutes", "next_in"), [(5, 10), (10, 10), (40, 40), (600, 600)])
def test_a_message_that_stays_unknown_is_asked_about_half_as_often_each_time(
    minutes: int, next_in: int
) -> None:
    around = Around([due("m", age=timedelta(minutes=minutes))])

    look(around)

    assert around.told == ["m"]
    assert around.times == {"m": NOW + timedelta(minutes=next_in)}


def test_a_close_that_stays_unknown_is_repeated_half_as_often_counted_from_the_close() -> None:
    day = timedelta(days=1)
    around = Around([due("m", age=day, closed=timedelta(minutes=20))])

    look(around)

    assert around.repeated == ["m"]
    assert around.times == {"m": NOW + timedelta(minutes=20)}


def test_a_look_tells_no_more_than_its_budget_and_the_rest_waits_its_turn() -> None:
    around = Around([due(f"{n}", age=TEN_MINUTES) for n in range(25)])

    look(around, told_max=12)

    assert around.told == [f"{n}" for n in range(12)]
    assert len(around.times) == 25
    assert around.looked == ["shield", "router"]  # once in a look


@pytest.mark.parametrize("behind", ["shield", "router"])
def test_nothing_is_told_again_while_a_reader_on_the_way_is_behind(behind: str) -> None:
    around = Around([due("m", age=TEN_MINUTES), due("c", age=TEN_MINUTES, closed=TEN_MINUTES)])
    around.behind = {behind}

    look(around)

    assert (around.told, around.repeated) == ([], ["c"])
    assert set(around.times) == {"m", "c"}


def test_no_close_is_repeated_while_the_log_is_behind() -> None:
    around = Around([due("m", age=TEN_MINUTES), due("c", age=TEN_MINUTES, closed=TEN_MINUTES)])
    around.behind = {"events"}

    look(around)

    assert (around.told, around.repeated) == (["m"], [])


@pytest.mark.parametrize(("away", "waiting_s"), [(True, 0.0), (False, 601.0)])
def test_nothing_is_told_again_while_the_broker_is_away_or_our_own_outbox_is_full(
    away: bool, waiting_s: float
) -> None:
    around = Around([due("m", age=TEN_MINUTES)])
    around.away, around.waiting_s = away, waiting_s

    look(around)

    assert around.told == []
    assert set(around.times) == {"m"}
