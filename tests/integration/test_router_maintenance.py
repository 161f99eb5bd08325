"""Maintenance of router: day partitions, and assignments that the journal closes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.delivery.v1 import delivery_service_pb2 as journal_pb
from contracts.delivery.v1.delivery_service_pb2_grpc import (
    DeliveryServiceServicer,
    add_DeliveryServiceServicer_to_server,
)
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED, DeliveryAttempted
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    DeliveryAssigned,
    MessageClosed,
)
from kernel.database import Database
from kernel.embedded.folder import free_port
from kernel.ids import lower_bound_at
from kernel.rpc import RpcServer
from services.router.loops.maintenance import RetentionMaintenance
from services.router.store.day_partitions import DayPartitions
from tests.support.router import TOKEN, RouterHarness, attempted, screened, until
from tests.support.stack import harness_fixture, opened

harness = harness_fixture(RouterHarness, scope="function")


def id_of(day: datetime, number: int) -> str:
    hexed = f"{lower_bound_at(day).int | (7 << 76) | (2 << 62) | number:032x}"
    return "-".join((hexed[:8], hexed[8:12], hexed[12:16], hexed[16:20], hexed[20:]))


async def test_a_day_whose_messages_closed_long_ago_is_dropped_and_not_created_again(
    harness: RouterHarness,
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    old = today - timedelta(days=20)
    one, other = (harness.context(message_id=id_of(old, number)) for number in (1, 2))
    async with opened(harness.database.system("router")) as database:
        async with harness.running():
            await harness.publish(screened(one))
            [assigned] = await harness.wait_for(DeliveryAssigned, one.message_id)
            await maintenance_of(database).run_once()
            assert old.date() in await existing(database), "one of its messages is open"
            await harness.publish(attempted(assigned))
            await harness.wait_for_state(one.message_id, "delivered")
            await maintenance_of(database).run_once()
            assert old.date() in await existing(database), "closed a moment ago"
            with harness.database.connect() as connection:
                connection.execute(
                    "UPDATE router.messages SET closed_at = now() - interval '9 days'"
                    " WHERE message_id = %s",
                    (one.message_id,),
                )
            await maintenance_of(database).run_once()
            assert old.date() not in await existing(database)
        async with harness.running():
            after = harness.context()
            await harness.publish(screened(other), screened(after))
            await harness.wait_for(DeliveryAssigned, after.message_id)
            assert harness.row(other.message_id) is None


def maintenance_of(database: Database) -> RetentionMaintenance:
    """The maintenance of a new process."""
    return RetentionMaintenance(database, DayPartitions(), retention_days=8, is_leader=lambda: True)


async def existing(database: Database) -> list[object]:
    async with database.transaction() as tx:
        return list(await DayPartitions().days.existing(tx))


class FakeJournal(DeliveryServiceServicer):
    """A journal with these attempts."""

    def __init__(self, *records: journal_pb.AttemptRecord) -> None:
        self.records = {record.key.message_id: record for record in records}

    async def GetAttempts(  # noqa: N802
        self, request: journal_pb.GetAttemptsRequest, context: object
    ) -> journal_pb.GetAttemptsResponse:
        ids = [key.message_id for key in request.keys if key.message_id in self.records]
        return journal_pb.GetAttemptsResponse(attempts=[self.records[one] for one in ids])

    async def GetDomainReports(self, request: object, context: object) -> Any:  # noqa: ANN401, N802
        raise NotImplementedError

    async def CheckEgressHosts(self, request: object, context: object) -> Any:  # noqa: ANN401, N802
        raise NotImplementedError

    async def EraseMessages(self, request: object, context: object) -> Any:  # noqa: ANN401, N802
        raise NotImplementedError

    async def ListSandboxMessages(self, request: object, context: object) -> Any:  # noqa: ANN401, N802
        raise NotImplementedError

    async def GetSandboxMessage(self, request: object, context: object) -> Any:  # noqa: ANN401, N802
        raise NotImplementedError


@asynccontextmanager
async def serving(address: str, servicer: FakeJournal) -> AsyncIterator[None]:
    server = RpcServer(address, TOKEN)
    add_DeliveryServiceServicer_to_server(servicer, server.grpc)
    await server.grpc.start()
    try:
        yield
    finally:
        await server.grpc.stop(0)


async def test_an_unanswered_assignment_is_closed_by_the_journal(harness: RouterHarness) -> None:
    address = f"127.0.0.1:{free_port()}"
    harness.extra = {"delivery_rpc_address": address}

    async with harness.running(), harness.rpc() as (call, stub):
        mail = {name: harness.context() for name in ("done", "unknown", "sent")}
        await harness.publish(*(screened(context) for context in mail.values()))
        assigned: dict[str, Any] = {}
        for name, context in mail.items():
            [assigned[name]] = await harness.wait_for(DeliveryAssigned, context.message_id)
        with harness.database.connect() as connection:
            connection.execute("UPDATE router.messages SET expires_at = now() - interval '1s'")
        request = pb.ReconcileRequest(contexts=list(mail.values()))
        response = await call(stub.Reconcile, request)
        assert len(response.known) == 3, "delivery is unavailable, so no result is known"
        done: DeliveryAttempted = attempted(assigned["done"], ATTEMPT_OUTCOME_DELIVERED)
        journal = FakeJournal(
            record(assigned["done"], "done", done), record(assigned["sent"], "data_sent")
        )
        async with serving(address, journal):
            response = await reconcile_with_journal(call, stub, request)
        assert [one.message_id for one in response.known] == [mail["sent"].message_id]
        [delivered] = await harness.wait_for(MessageClosed, mail["done"].message_id)
        assert delivered.state == CLOSED_STATE_DELIVERED
        [failed] = await harness.wait_for(MessageClosed, mail["unknown"].message_id)
        assert (failed.state, failed.reason) == (CLOSED_STATE_FAILED, "expired")
        await until(lambda: harness.row(mail["sent"].message_id) == "assigned")


async def reconcile_with_journal(call: Any, stub: Any, request: Any) -> pb.ReconcileResponse:  # noqa: ANN401
    """Reconcile again until the channel to the journal is connected."""
    while True:
        response: pb.ReconcileResponse = await call(stub.Reconcile, request)
        if len(response.known) <= 1:
            return response


def record(
    assigned: DeliveryAssigned, stage: str, done: DeliveryAttempted | None = None
) -> journal_pb.AttemptRecord:
    key = journal_pb.AttemptKey(message_id=assigned.message_id, attempt=assigned.attempt)
    return journal_pb.AttemptRecord(key=key, stage=stage, attempted=done)
