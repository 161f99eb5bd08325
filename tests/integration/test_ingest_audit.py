"""The promise is audited: lost records on a message's path are found and told again."""

from pathlib import Path

import pytest

from contracts.events.v1.events_service_pb2 import (
    FindOpenRequest,
    FindOpenResponse,
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
    KnownMessage,
    MessageState,
    ReconcileRequest,
    ReconcileResponse,
    RepublishClosedRequest,
    RepublishClosedResponse,
    RescheduleRequest,
    RescheduleResponse,
)
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel.topics import event_id
from tests.support.ingest import IngestHarness, play, until
from tests.support.stack import FreshDatabase

IMPATIENT = {"audit_open_after_s": 0.2, "audit_closed_after_s": 0.2, "audit_repeat_after_s": 60}


class Router(RouterServiceServicer):
    """Says what the test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.knows: set[str] = set()
        self.too_late = False
        self.reconciled: list[str] = []
        self.repeated: list[str] = []
        self.rescheduled: list[RescheduleRequest] = []

    async def Reconcile(self, request: ReconcileRequest, _: object) -> ReconcileResponse:  # noqa: N802
        answer = ReconcileResponse()
        for context in request.contexts:
            self.reconciled.append(context.message_id)
            if context.message_id in self.knows:
                answer.known.append(
                    KnownMessage(message_id=context.message_id, expires_at=context.expires_at)
                )
            else:
                answer.republish_ids.append(context.message_id)
        return answer

    async def RepublishClosed(  # noqa: N802
        self, request: RepublishClosedRequest, _: object
    ) -> RepublishClosedResponse:
        self.repeated += request.message_ids
        return RepublishClosedResponse(republished_ids=request.message_ids)

    async def GetStates(self, request: GetStatesRequest, _: object) -> GetStatesResponse:  # noqa: N802
        states = [
            MessageState(
                message_id=one, state="queued", queued_reason="tenant per hour", attempt_count=1
            )
            for one in request.message_ids
        ]
        return GetStatesResponse(states=states)

    async def Cancel(self, request: CancelRequest, _: object) -> CancelResponse:  # noqa: N802
        ids = [one.message_id for one in request.contexts]
        return (
            CancelResponse(too_late_ids=ids) if self.too_late else CancelResponse(canceled_ids=ids)
        )

    async def Reschedule(self, request: RescheduleRequest, _: object) -> RescheduleResponse:  # noqa: N802
        self.rescheduled.append(request)
        return RescheduleResponse(rescheduled_ids=[one.message_id for one in request.contexts])


class Events(EventsServiceServicer):
    """Knows as closed what the test puts into `closed`."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.asked: list[str] = []

    async def FindOpen(  # noqa: N802
        self, request: FindOpenRequest, context: object
    ) -> FindOpenResponse:
        self.asked += request.message_ids
        open_in_log = [one for one in request.message_ids if one not in self.closed]
        return FindOpenResponse(message_ids=open_in_log)

    async def ListEmails(self, request: ListEmailsRequest, context: object) -> ListEmailsResponse:  # noqa: N802
        return ListEmailsResponse(emails=[LoggedEmail(id=request.id, last_event="complained")])


@pytest.fixture
def router() -> Router:
    return Router()  # type: ignore[abstract]  # the rest is not asked


@pytest.fixture
def events() -> Events:
    return Events()  # type: ignore[abstract]  # the rest is not asked


@pytest.fixture
def harness(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path: Path,
    router: Router,
    events: Events,
) -> IngestHarness:
    return IngestHarness(
        bootstrap_servers, topic_prefix, database, tmp_path, router=router, events=events
    )


def test_a_message_that_the_router_does_not_know_is_told_again_as_it_was(
    harness: IngestHarness, router: Router
) -> None:
    async def story() -> None:
        harness.extra = {**IMPATIENT, "audit_repeat_after_s": 0.5}
        async with harness.running():
            await harness.sign_up()
            sent = await harness.send(to=["a@x.example", "b@x.example"])
            await harness.accepted(sent.json["id"], 2)
            async with harness.reader("shield", MessageAccepted):
                told = await harness.accepted(sent.json["id"], 4)  # two messages, told twice
            first, again = told_twice(told)
            assert first == again
            assert event_id(first[0]) == event_id(again[0])

    play(story())


def test_what_the_readers_have_not_reached_is_not_told_again(
    harness: IngestHarness, router: Router
) -> None:
    """However often the audit looks while shield stands still, nothing comes on top."""

    async def story() -> None:
        harness.extra = {**IMPATIENT, "audit_repeat_after_s": 0.2}
        async with harness.running():
            await harness.sign_up()
            sent = [(await harness.send()).json["id"] for _ in range(5)]

            async def told() -> list[str]:
                """All records there are of these five."""
                found = await harness.read_events(MessageAccepted, 1_000)
                return [one.message_id for one in found if one.context.email_id in sent]

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
            async with harness.reader("shield", MessageAccepted):
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
    harness: IngestHarness, router: Router
) -> None:
    async def story() -> None:
        harness.extra = {**IMPATIENT, "audit_open_after_s": 2.0}
        async with harness.running():
            await harness.sign_up()
            sent = await harness.send()
            [told] = await harness.accepted(sent.json["id"])
            router.knows.add(told.message_id)

            async def put_off() -> bool:
                return told.message_id in router.reconciled and waits_days(harness, told.message_id)

            await until(put_off)

    play(story())


def waits_days(harness: IngestHarness, message_id: str) -> bool:
    with harness.database.connect() as connection:
        row = connection.execute(
            "SELECT audit_at > now() + interval '72 hours' FROM ingest.messages"
            " WHERE message_id = %s",
            (message_id,),
        ).fetchone()
    return row == (True,)


def test_a_close_that_the_log_does_not_know_is_told_again_until_it_does(
    harness: IngestHarness, router: Router, events: Events
) -> None:
    async def story() -> None:
        harness.extra = {**IMPATIENT, "audit_open_after_s": 60, "audit_repeat_after_s": 1}
        async with harness.running():
            await harness.sign_up()
            sent = await harness.send()
            [told] = await harness.accepted(sent.json["id"])
            closed = MessageClosed(
                message_id=told.message_id,
                tenant_id=told.context.tenant_id,
                email_id=told.context.email_id,
                state=CLOSED_STATE_DELIVERED,
            )
            await harness.publish(closed)

            async def repeated() -> bool:
                return told.message_id in router.repeated

            async with harness.reader("events", MessageClosed):
                await until(repeated)
            events.closed.add(told.message_id)

            async def settled() -> bool:
                with harness.database.connect() as connection:
                    row = connection.execute(
                        "SELECT closed_state, audit_at FROM ingest.messages WHERE message_id = %s",
                        (told.message_id,),
                    ).fetchone()
                return row == (CLOSED_STATE_DELIVERED, None)

            await until(settled)
            assert told.message_id not in router.reconciled

    play(story())


def test_the_state_and_the_wait_of_a_message_come_from_the_router(harness: IngestHarness) -> None:
    async def story() -> None:
        async with harness.running():
            await harness.sign_up()
            sent = await harness.send()
            got = await harness.request("GET", f"/v1/emails/{sent.json['id']}")
            assert got.json["unavailable"] == []
            assert got.json["last_event"] == "complained"  # the log has heard of that
            [recipient] = got.json["recipients"]
            assert (recipient["state"], recipient["attempt_count"]) == ("queued", 1)
            assert recipient["queued_reason"] == "tenant per hour"

    play(story())


def test_a_scheduled_email_moves_with_its_end_of_life_and_no_other_does(
    harness: IngestHarness, router: Router
) -> None:
    async def story() -> None:
        async with harness.running():
            await harness.sign_up()
            sent = await harness.send(scheduled_at="in 1 hour")
            path = f"/v1/emails/{sent.json['id']}"
            moved = await harness.request("PATCH", path, {"scheduled_at": "in 2 hours", "id": "x"})
            assert moved.status == 200
            [request] = router.rescheduled
            [context] = request.contexts
            assert context.due_at == request.due_at
            assert context.expires_at.seconds - context.due_at.seconds == 72 * 3600
            got = await harness.request("GET", path)
            assert got.json["scheduled_at"] > sent_at(got.json["created_at"])
            late = await harness.request("PATCH", path, {"scheduled_at": "in 31 days"})
            assert late.status == 422
            at_once = await harness.send()
            refused = await harness.request(
                "PATCH", f"/v1/emails/{at_once.json['id']}", {"scheduled_at": "in 1 hour"}
            )
            assert (refused.status, refused.json["name"]) == (409, "not_scheduled")

    play(story())


def sent_at(created_at: str) -> str:
    """An hour and a half later, for what sorts as text."""
    from datetime import datetime, timedelta

    moved = datetime.fromisoformat(created_at) + timedelta(minutes=90)
    return moved.isoformat()


def test_an_email_that_was_handed_over_is_not_cancelled(
    harness: IngestHarness, router: Router
) -> None:
    async def story() -> None:
        async with harness.running():
            await harness.sign_up()
            sent = await harness.send()
            path = f"/v1/emails/{sent.json['id']}/cancel"
            # resend-node says that it sends JSON, and sends nothing
            done = await harness.request("POST", path, headers={"Content-Type": "application/json"})
            assert (done.status, done.json["id"]) == (200, sent.json["id"])
            router.too_late = True
            late = await harness.request("POST", path)
            assert (late.status, late.json["name"]) == (409, "not_scheduled")

    play(story())
