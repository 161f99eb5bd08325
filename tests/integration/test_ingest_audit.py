"""The audit finds records lost on a message's path and publishes them again."""

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
from tests.support.ingest import IngestHarness
from tests.support.polling import until
from tests.support.stack import FreshDatabase

IMPATIENT = {"audit_open_after_s": 0.2, "audit_closed_after_s": 0.2, "audit_repeat_after_s": 60}


class Router(RouterServiceServicer):
    """Returns configured responses, and records requests."""

    def __init__(self) -> None:
        self.knows: set[str] = set()
        self.too_late = False
        self.reconciled: list[str] = []
        self.repeated: list[str] = []
        self.rescheduled: list[RescheduleRequest] = []

    async def Reconcile(self, request: ReconcileRequest, _: object) -> ReconcileResponse:  # noqa: N802
        response = ReconcileResponse()
        for context in request.contexts:
            self.reconciled.append(context.message_id)
            if context.message_id in self.knows:
                response.known.append(
                    KnownMessage(message_id=context.message_id, expires_at=context.expires_at)
                )
            else:
                response.republish_ids.append(context.message_id)
        return response

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
    """Reports the messages in `closed` as closed."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.requested: list[str] = []

    async def FindOpen(  # noqa: N802
        self, request: FindOpenRequest, context: object
    ) -> FindOpenResponse:
        self.requested += request.message_ids
        open_in_log = [one for one in request.message_ids if one not in self.closed]
        return FindOpenResponse(message_ids=open_in_log)

    async def ListEmails(self, request: ListEmailsRequest, context: object) -> ListEmailsResponse:  # noqa: N802
        return ListEmailsResponse(emails=[LoggedEmail(id=request.id, last_event="complained")])


@pytest.fixture
def router() -> Router:
    return Router()  # type: ignore[abstract]  # the rest is not requested


@pytest.fixture
def events() -> Events:
    return Events()  # type: ignore[abstract]  # the rest is not requested


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


async def test_a_message_that_router_lacks_is_republished_unchanged(
    harness: IngestHarness, router: Router
) -> None:
    harness.extra = {**IMPATIENT, "audit_repeat_after_s": 0.5}
    async with harness.running():
        await harness.sign_up()
        sent = await harness.send(to=["a@x.example", "b@x.example"])
        await harness.accepted(sent.json["id"], 2)
        async with harness.reader("shield", MessageAccepted):
            accepted = await harness.accepted(sent.json["id"], 4)  # two messages, published twice
        first, again = in_both_copies(accepted)
        assert first == again
        assert event_id(first[0]) == event_id(again[0])


async def test_nothing_is_republished_while_consumers_lag(
    harness: IngestHarness, router: Router
) -> None:
    """Even if the audit runs often while shield is stopped, no record is added."""

    harness.extra = {**IMPATIENT, "audit_repeat_after_s": 0.2}
    async with harness.running():
        await harness.sign_up()
        sent = [(await harness.send()).json["id"] for _ in range(5)]

        async def published() -> list[str]:
            """All records of these five messages."""
            found = await harness.read_events(MessageAccepted)
            return [one.message_id for one in found if one.context.email_id in sent]

        async def all_accepted() -> bool:
            return len(await published()) >= 5

        await until(all_accepted)
        ids = await published()
        assert len(ids) == 5

        async def called_three_times() -> bool:
            return all(router.reconciled.count(one) >= 3 for one in ids)

        await until(called_three_times)
        assert sorted(await published()) == sorted(ids)

        async def is_republished() -> bool:
            return len(await published()) > 5

        # Open messages of other tests are republished too, so the consumer must continue.
        async with harness.reader("shield", MessageAccepted):
            await until(is_republished)
        assert set(await published()) == set(ids)


def in_both_copies(
    accepted: list[MessageAccepted],
) -> tuple[list[MessageAccepted], list[MessageAccepted]]:
    by_id: dict[str, list[MessageAccepted]] = {}
    for one in accepted:
        by_id.setdefault(one.message_id, []).append(one)
    assert [len(both) for both in by_id.values()] == [2, 2]
    return [both[0] for both in by_id.values()], [both[1] for both in by_id.values()]


async def test_a_message_that_router_has_is_checked_again_after_it_expires(
    harness: IngestHarness, router: Router
) -> None:
    harness.extra = {**IMPATIENT, "audit_repeat_after_s": 0.5}  # known from some repetition on
    async with harness.running():
        await harness.sign_up()
        sent = await harness.send()
        [accepted] = await harness.accepted(sent.json["id"])
        router.knows.add(accepted.message_id)

        async def put_off() -> bool:
            return accepted.message_id in router.reconciled and waits_days(
                harness, accepted.message_id
            )

        await until(put_off)


def waits_days(harness: IngestHarness, message_id: str) -> bool:
    with harness.database.connect() as connection:
        row = connection.execute(
            "SELECT audit_at > now() + interval '72 hours' FROM ingest.messages"
            " WHERE message_id = %s",
            (message_id,),
        ).fetchone()
    return row == (True,)


async def test_a_close_that_the_event_log_lacks_is_republished_until_it_has_it(
    harness: IngestHarness, router: Router, events: Events
) -> None:
    harness.extra = {**IMPATIENT, "audit_open_after_s": 60, "audit_repeat_after_s": 1}
    async with harness.running():
        await harness.sign_up()
        sent = await harness.send()
        [accepted] = await harness.accepted(sent.json["id"])
        closed = MessageClosed(
            message_id=accepted.message_id,
            tenant_id=accepted.context.tenant_id,
            email_id=accepted.context.email_id,
            state=CLOSED_STATE_DELIVERED,
        )
        await harness.publish(closed)

        async def repeated() -> bool:
            return accepted.message_id in router.repeated

        async with harness.reader("events", MessageClosed):
            await until(repeated)
        events.closed.add(accepted.message_id)

        async def settled() -> bool:
            with harness.database.connect() as connection:
                row = connection.execute(
                    "SELECT closed_state, audit_at FROM ingest.messages WHERE message_id = %s",
                    (accepted.message_id,),
                ).fetchone()
            return row == (CLOSED_STATE_DELIVERED, None)

        await until(settled)
        assert accepted.message_id not in router.reconciled


async def test_state_and_queued_reason_come_from_router(harness: IngestHarness) -> None:
    async with harness.running():
        await harness.sign_up()
        sent = await harness.send()
        got = await harness.request("GET", f"/v1/emails/{sent.json['id']}")
        assert got.json["unavailable"] == []
        assert got.json["last_event"] == "complained"  # the event log has it now
        [recipient] = got.json["recipients"]
        assert (recipient["state"], recipient["attempt_count"]) == ("queued", 1)
        assert recipient["queued_reason"] == "tenant per hour"


async def test_rescheduling_moves_the_expiry_and_works_for_scheduled_emails_only(
    harness: IngestHarness, router: Router
) -> None:
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


def sent_at(created_at: str) -> str:
    """An hour and a half later, for what sorts as text."""
    from datetime import datetime, timedelta

    moved = datetime.fromisoformat(created_at) + timedelta(minutes=90)
    return moved.isoformat()


async def test_an_email_whose_delivery_has_started_is_not_canceled(
    harness: IngestHarness, router: Router
) -> None:
    async with harness.running():
        await harness.sign_up()
        sent = await harness.send()
        path = f"/v1/emails/{sent.json['id']}/cancel"
        # resend-node declares JSON but sends no body
        done = await harness.request("POST", path, headers={"Content-Type": "application/json"})
        assert (done.status, done.json["id"]) == (200, sent.json["id"])
        router.too_late = True
        late = await harness.request("POST", path)
        assert (late.status, late.json["name"]) == (409, "not_scheduled")
