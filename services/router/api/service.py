"""RouterService: each method opens its transaction, asks, and answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel import clock
from kernel.backoff import Health
from kernel.database import Database, Transaction
from kernel.errors import Unavailable
from kernel.ids import canonical
from kernel.outbox import Entry, Outbox
from kernel.table import Table
from kernel.topics import encode
from services.router.api import answering
from services.router.api.audit import Audit
from services.router.clients.journal import Journal
from services.router.domain.arrival import arrival
from services.router.domain.facts import closed, seconds
from services.router.domain.message import State
from services.router.domain.retry import RetryPolicy
from services.router.store import closings, requests, suppressions
from services.router.store.partitions import Partitions
from services.router.store.wake import Waker

IDS_MAX = 1000
PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class RouterService(RouterServiceServicer):
    """api: the role under row-level security, for what is asked in the name of a tenant."""

    engine: Database
    api: Database
    outbox: Outbox
    health: Health
    journal: Journal
    partitions: Partitions
    tenants: Table[Tenant]
    retry: RetryPolicy
    waker: Waker

    async def GetStates(  # noqa: N802 - gRPC's names
        self, request: pb.GetStatesRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.GetStatesResponse:
        async with answered(context):
            ids = uuids(request.message_ids)
            async with self.api.transaction(tenant_id=canonical(request.tenant_id)) as tx:
                seen = await requests.states(tx, request.tenant_id, ids)
            return pb.GetStatesResponse(states=[answering.state(row) for row in seen])
        raise AssertionError("aborted")

    async def Cancel(  # noqa: N802
        self, request: pb.CancelRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.CancelResponse:
        async with answered(context):
            arrivals = [arrival(envelope, State.CANCELLED) for envelope in request.envelopes]
            check_owner(request.tenant_id, [a.tenant_id for a in arrivals])
            ids = uuids([a.message_id for a in arrivals])
            await self._prepare(ids)
            async with self.api.transaction(tenant_id=request.tenant_id) as tx:
                finals = await requests.cancel(tx, arrivals)
                entry = await self._add(tx, [closed(final) for final in finals])
                seen = await requests.states(tx, request.tenant_id, ids)
            self.outbox.publish_soon(entry, self.health)
            cancelled = {row.message_id for row in seen if row.state == State.CANCELLED}
            return pb.CancelResponse(
                cancelled=[one for one in ids if one in cancelled],
                too_late=[one for one in ids if one not in cancelled],
            )
        raise AssertionError("aborted")

    async def Reschedule(  # noqa: N802
        self, request: pb.RescheduleRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.RescheduleResponse:
        async with answered(context):
            arrivals = [arrival(envelope, State.EXPECTED) for envelope in request.envelopes]
            check_owner(request.tenant_id, [a.tenant_id for a in arrivals])
            ids = uuids([a.message_id for a in arrivals])
            await self._prepare(ids)
            async with self.api.transaction(tenant_id=request.tenant_id) as tx:
                moved = await requests.reschedule(tx, arrivals, due_s=seconds(request.due_at))
                await self.waker.work(tx, names=True)
            return pb.RescheduleResponse(
                rescheduled=moved, too_late=[one for one in ids if one not in set(moved)]
            )
        raise AssertionError("aborted")

    async def Release(  # noqa: N802
        self, request: pb.ReleaseRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.ReleaseResponse:
        async with answered(context):
            ids = uuids(request.message_ids)
            async with self.api.transaction(tenant_id=canonical(request.tenant_id)) as tx:
                released = await requests.release(tx, request.tenant_id, ids)
                await self.waker.work(tx, names=True)
            return pb.ReleaseResponse(
                released=released, not_held=[one for one in ids if one not in set(released)]
            )
        raise AssertionError("aborted")

    async def ListLanes(  # noqa: N802
        self, request: pb.ListLanesRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.ListLanesResponse:
        async with answered(context):
            limit = page(request.limit)
            async with self.api.transaction(tenant_id=canonical(request.tenant_id)) as tx:
                found = await requests.lanes_of(
                    tx,
                    request.tenant_id,
                    after=words(request.after, "after"),
                    limit=limit + 1,
                    test_only=request.test_only,
                )
            return pb.ListLanesResponse(
                lanes=[answering.lane(row) for row in found[:limit]], has_more=len(found) > limit
            )
        raise AssertionError("aborted")

    async def ListSuppressions(  # noqa: N802
        self,
        request: pb.ListSuppressionsRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> pb.ListSuppressionsResponse:
        async with answered(context):
            limit = page(request.limit)
            uuids([cursor for cursor in (request.after, request.before) if cursor])
            async with self.api.transaction(tenant_id=canonical(request.tenant_id)) as tx:
                found = await suppressions.find(
                    tx,
                    request.tenant_id,
                    after=request.after,
                    before=request.before,
                    address=request.address,
                    limit=limit + 1,
                )
            shown = found[:limit][::-1] if request.before else found[:limit]
            return pb.ListSuppressionsResponse(
                suppressions=[answering.suppression(row) for row in shown],
                has_more=len(found) > limit,
            )
        raise AssertionError("aborted")

    async def AddSuppressions(  # noqa: N802
        self,
        request: pb.AddSuppressionsRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> pb.AddSuppressionsResponse:
        async with answered(context):
            async with self.api.transaction(tenant_id=canonical(request.tenant_id)) as tx:
                rows = await suppressions.add(
                    tx,
                    request.tenant_id,
                    [words(one, "addresses") for one in request.addresses[:IDS_MAX]],
                    origin=request.origin or "manual",
                )
            return pb.AddSuppressionsResponse(
                suppressions=[answering.suppression(row) for row in rows]
            )
        raise AssertionError("aborted")

    async def RemoveSuppressions(  # noqa: N802
        self,
        request: pb.RemoveSuppressionsRequest,
        context: "grpc.aio.ServicerContext[object, object]",
    ) -> pb.RemoveSuppressionsResponse:
        async with answered(context):
            async with self.api.transaction(tenant_id=canonical(request.tenant_id)) as tx:
                rows = await suppressions.remove(tx, request.tenant_id, request.addresses[:IDS_MAX])
            return pb.RemoveSuppressionsResponse(
                removed=[answering.suppression(row) for row in rows]
            )
        raise AssertionError("aborted")

    async def Reconcile(  # noqa: N802
        self, request: pb.ReconcileRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.ReconcileResponse:
        async with answered(context):
            forgotten = await self._prepare(uuids([e.message_id for e in request.envelopes]))
            audit = Audit(
                self.engine, self.outbox, self.journal, self.tenants, self.retry, self.health
            )
            return await audit.reconcile(request.envelopes, forgotten)
        raise AssertionError("aborted")

    async def RepeatClosed(  # noqa: N802
        self, request: pb.RepeatClosedRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> pb.RepeatClosedResponse:
        async with answered(context):
            async with self.engine.transaction() as tx:
                finals = await closings.final(tx, uuids(request.message_ids))
                entry = await self._add(tx, [closed(final) for final in finals])
            self.outbox.publish_soon(entry, self.health)
            return pb.RepeatClosedResponse(repeated_ids=[final.message_id for final in finals])
        raise AssertionError("aborted")

    async def _add(self, tx: Transaction, events: Sequence[Message]) -> Entry:
        now = clock.now()
        return await self.outbox.add(tx, [encode(event, now) for event in events])

    async def _prepare(self, ids: Sequence[str]) -> set[str]:
        """The days of these messages: a cancelled one may be the first of its day. The ids of days
        that are forgotten."""
        async with self.engine.transaction() as tx:
            return await self.partitions.prepare(tx, ids)


@asynccontextmanager
async def answered(context: "grpc.aio.ServicerContext[object, object]") -> AsyncIterator[None]:
    """What is wrong with a request, or away, as a status of gRPC."""
    try:
        yield
    except ValueError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except Unavailable as error:
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error} is away")


def words(text: str, name: str) -> str:
    """What the database takes as text. Raises ValueError."""
    if "\0" in text:
        raise ValueError(f"{name} holds a NUL")
    return text


def uuids(texts: Sequence[str]) -> list[str]:
    if len(texts) > IDS_MAX:
        raise ValueError(f"at most {IDS_MAX} ids in one request")
    return [canonical(text) for text in texts]


def check_owner(tenant_id: str, tenants: Sequence[str]) -> None:
    canonical(tenant_id)
    if any(one != tenant_id for one in tenants):
        raise ValueError("an envelope is another tenant's")


def page(limit: int) -> int:
    return min(limit or 20, PAGE_MAX)
