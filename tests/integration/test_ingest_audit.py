"""The promise is audited: lost records on a message's path are found and told again."""

from pathlib import Path

import pytest

from contracts.events.v1.events_service_pb2 import (
    FindUnclosedRequest,
    FindUnclosedResponse,
    ListEmailsRequest,
    ListEmailsResponse,
    LoggedEmail,
)
from contracts.events.v1.events_service_pb2_grpc import EventsServiceServicer
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import CLOSED_STATE_DELIVERED, MessageClosed
from contracts.router.v1.router_service_pb2 import (
    CancelRequest,
    CancelResponse,
    GetStatesRequest,
    GetStatesResponse,
    Known,
    MessageState,
    ReconcileRequest,
    ReconcileResponse,
    RepeatClosedRequest,
    RepeatClosedResponse,
    RescheduleRequest,
    RescheduleResponse,
)
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel.topics import event_id
from tests.support.ingest import House, play, until
from tests.support.pair import FreshDatabase

IMPATIENT = {"audit_open_after_s": 0.2, "audit_closed_after_s": 0.2, "audit_again_after_s": 60}


class Router(RouterServiceServicer):
    """Says what the test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.knows: set[str] = set()
        self.too_late = False
        self.reconciled: list[str] = []
        self.repeated: list[str] = []
        self.rescheduled: list[RescheduleRequest] = []

    async def Reconcile(self, request: ReconcileRequest, context: object) -> ReconcileResponse:  # noqa: N802
        answer = ReconcileResponse()
        for envelope in request.envelopes:
            self.reconciled.append(envelope.message_id)
            if envelope.message_id in self.knows:
                answer.known.append(
                    Known(message_id=envelope.message_id, expires_at=envelope.expires_at)
                )
            else:
                answer.tell_again.append(envelope.message_id)
        return answer

    async def RepeatClosed(  # noqa: N802
        self, request: RepeatClosedRequest, context: object
    ) -> RepeatClosedResponse:
        self.repeated += request.message_ids
        return RepeatClosedResponse(repeated_ids=request.message_ids)

    async def GetStates(self, request: GetStatesRequest, context: object) -> GetStatesResponse:  # noqa: N802
        states = [
            MessageState(message_id=one, state="waiting", wait_reason="tenant per hour", tries=1)
            for one in request.message_ids
        ]
        return GetStatesResponse(states=states)

    async def Cancel(self, request: CancelRequest, context: object) -> CancelResponse:  # noqa: N802
        ids = [one.message_id for one in request.envelopes]
        return CancelResponse(too_late=ids) if self.too_late else CancelResponse(cancelled=ids)

    async def Reschedule(self, request: RescheduleRequest, context: object) -> RescheduleResponse:  # noqa: N802
        self.rescheduled.append(request)
        return RescheduleResponse(rescheduled=[one.message_id for one in request.envelopes])


class Events(EventsServiceServicer):
    """Knows as closed what the test puts into `closed`."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.asked: list[str] = []

    async def FindUnclosed(  # noqa: N802
        self, request: FindUnclosedRequest, context: object
    ) -> FindUnclosedResponse:
        self.asked += request.message_ids
        unclosed = [one for one in request.message_ids if one not in self.closed]
        return FindUnclosedResponse(message_ids=unclosed)

    async def ListEmails(self, request: ListEmailsRequest, context: object) -> ListEmailsResponse:  # noqa: N802
        return ListEmailsResponse(emails=[LoggedEmail(id=request.id, last_event="complained")])


@pytest.fixture
def router() -> Router:
    return Router()  # type: ignore[abstract]  # the rest is not asked


@pytest.fixture
def events() -> Events:
    return Events()  # type: ignore[abstract]  # the rest is not asked


@pytest.fixture
def house(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path: Path,
    router: Router,
    events: Events,
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path, router=router, events=events)


def test_a_message_that_the_router_does_not_know_is_told_again_as_it_was(
    house: House, router: Router
) -> None:
    async def story() -> None:
        house.extra = {**IMPATIENT, "audit_again_after_s": 0.5}
        async with house.running():
            await house.enrol()
            sent = await house.send(to=["a@x.example", "b@x.example"])
            await house.accepted(sent.json["id"], 2)
            async with house.reader("shield", MessageAccepted):
                told = await house.accepted(sent.json["id"], 4)  # two messages, told twice
            first, again = told_twice(told)
            assert first == again
            assert event_id(first[0]) == event_id(again[0])

    play(story())


def test_what_the_readers_have_not_reached_is_not_told_again(house: House, router: Router) -> None:
    """However often the audit looks while shield stands still, nothing comes on top."""

    async def story() -> None:
        house.extra = {**IMPATIENT, "audit_again_after_s": 0.2}
        async with house.running():
            await house.enrol()
            sent = [(await house.send()).json["id"] for _ in range(5)]

            async def told() -> list[str]:
                """All records there are of these five."""
                found = await house.told(MessageAccepted, 1_000)
                return [one.message_id for one in found if one.envelope.email_id in sent]

            async def all_told() -> bool:
                return len(await told()) >= 5

            await until(all_told)
            ids = await told()
            assert len(ids) == 5

            async def asked_three_times() -> bool:
                return all(router.reconciled.count(one) >= 3 for one in ids)

            await until(asked_three_times)
            assert sorted(await told()) == sorted(ids)

            async def told_again() -> bool:
                return len(await told()) > 5

            # What other tests have left open is told again as well: a reader must go on reading.
            async with house.reader("shield", MessageAccepted):
                await until(told_again)
            assert set(await told()) == set(ids)

    play(story())


def told_twice(
    told: list[MessageAccepted],
) -> tuple[list[MessageAccepted], list[MessageAccepted]]:
    by_id: dict[str, list[MessageAccepted]] = {}
    for one in told:
        by_id.setdefault(one.message_id, []).append(one)
    assert [len(both) for both in by_id.values()] == [2, 2]
    return [both[0] for both in by_id.values()], [both[1] for both in by_id.values()]


def test_a_message_that_the_router_knows_is_asked_about_after_its_end_of_life(
    house: House, router: Router
) -> None:
    async def story() -> None:
        house.extra = {**IMPATIENT, "audit_open_after_s": 2.0}
        async with house.running():
            await house.enrol()
            sent = await house.send()
            [told] = await house.accepted(sent.json["id"])
            router.knows.add(told.message_id)

            async def put_off() -> bool:
                return told.message_id in router.reconciled and waits_days(house, told.message_id)

            await until(put_off)

    play(story())


def waits_days(house: House, message_id: str) -> bool:
    with house.database.connect() as connection:
        row = connection.execute(
            "SELECT audit_at > now() + interval '72 hours' FROM ingest.messages"
            " WHERE message_id = %s",
            (message_id,),
        ).fetchone()
    return row == (True,)


def test_a_close_that_the_log_does_not_know_is_told_again_until_it_does(
    house: House, router: Router, events: Events
) -> None:
    async def story() -> None:
        house.extra = {**IMPATIENT, "audit_open_after_s": 60, "audit_again_after_s": 1}
        async with house.running():
            await house.enrol()
            sent = await house.send()
            [told] = await house.accepted(sent.json["id"])
            closed = MessageClosed(
                message_id=told.message_id,
                tenant_id=told.envelope.tenant_id,
                email_id=told.envelope.email_id,
                state=CLOSED_STATE_DELIVERED,
            )
            await house.publish(closed)

            async def repeated() -> bool:
                return told.message_id in router.repeated

            async with house.reader("events", MessageClosed):
                await until(repeated)
            events.closed.add(told.message_id)

            async def settled() -> bool:
                with house.database.connect() as connection:
                    row = connection.execute(
                        "SELECT closed_state, audit_at FROM ingest.messages WHERE message_id = %s",
                        (told.message_id,),
                    ).fetchone()
                return row == (CLOSED_STATE_DELIVERED, None)

            await until(settled)
            assert told.message_id not in router.reconciled

    play(story())


def test_the_state_and_the_wait_of_a_message_come_from_the_router(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            sent = await house.send()
            got = await house.ask("GET", f"/v1/emails/{sent.json['id']}")
            assert got.json["unavailable"] == []
            assert got.json["last_event"] == "complained"  # the log has heard of that
            [recipient] = got.json["recipients"]
            assert (recipient["state"], recipient["tries"]) == ("waiting", 1)
            assert recipient["wait_reason"] == "tenant per hour"

    play(story())


def test_a_scheduled_email_moves_with_its_end_of_life_and_no_other_does(
    house: House, router: Router
) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            sent = await house.send(scheduled_at="in 1 hour")
            path = f"/v1/emails/{sent.json['id']}"
            moved = await house.ask("PATCH", path, {"scheduled_at": "in 2 hours", "id": "x"})
            assert moved.status == 200
            [request] = router.rescheduled
            [envelope] = request.envelopes
            assert envelope.due_at == request.due_at
            assert envelope.expires_at.seconds - envelope.due_at.seconds == 72 * 3600
            got = await house.ask("GET", path)
            assert got.json["scheduled_at"] > sent_at(got.json["created_at"])
            late = await house.ask("PATCH", path, {"scheduled_at": "in 31 days"})
            assert late.status == 422
            at_once = await house.send()
            refused = await house.ask(
                "PATCH", f"/v1/emails/{at_once.json['id']}", {"scheduled_at": "in 1 hour"}
            )
            assert (refused.status, refused.json["name"]) == (409, "not_scheduled")

    play(story())


def sent_at(created_at: str) -> str:
    """An hour and a half later, for what sorts as text."""
    from datetime import datetime, timedelta

    moved = datetime.fromisoformat(created_at) + timedelta(minutes=90)
    return moved.isoformat()


def test_an_email_that_was_handed_over_is_not_cancelled(house: House, router: Router) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            sent = await house.send()
            path = f"/v1/emails/{sent.json['id']}/cancel"
            # resend-node says that it sends JSON, and sends nothing
            done = await house.ask("POST", path, headers={"Content-Type": "application/json"})
            assert (done.status, done.json["id"]) == (200, sent.json["id"])
            router.too_late = True
            late = await house.ask("POST", path)
            assert (late.status, late.json["name"]) == (409, "not_scheduled")

    play(story())
