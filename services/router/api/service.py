"""RouterService: each method opens its transaction, asks, and answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel import clock
from kernel.backoff import Health
from kernel.database import Database, Transaction
from kernel.outbox import Entry, Outbox
from kernel.rpc import Context, Wrong, answering, identity, words
from kernel.table import Table
from kernel.topics import encode
from services.router.api import shown
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

    @answering
    async def GetStates(  # noqa: N802 - gRPC's names
        self, request: pb.GetStatesRequest, _: Context
    ) -> pb.GetStatesResponse:
        ids = uuids(request.message_ids)
        async with self.api.transaction(tenant_id=tenant(request.tenant_id)) as tx:
            seen = await requests.states(tx, request.tenant_id, ids)
        return pb.GetStatesResponse(states=[shown.state(row) for row in seen])

    @answering
    async def Cancel(  # noqa: N802 - gRPC's names
        self, request: pb.CancelRequest, _: Context
    ) -> pb.CancelResponse:
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

    @answering
    async def Reschedule(  # noqa: N802 - gRPC's names
        self, request: pb.RescheduleRequest, _: Context
    ) -> pb.RescheduleResponse:
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

    @answering
    async def Release(  # noqa: N802 - gRPC's names
        self, request: pb.ReleaseRequest, _: Context
    ) -> pb.ReleaseResponse:
        ids = uuids(request.message_ids)
        async with self.api.transaction(tenant_id=tenant(request.tenant_id)) as tx:
            released = await requests.release(tx, request.tenant_id, ids)
            await self.waker.work(tx, names=True)
        return pb.ReleaseResponse(
            released=released, not_held=[one for one in ids if one not in set(released)]
        )

    @answering
    async def ListLanes(  # noqa: N802 - gRPC's names
        self, request: pb.ListLanesRequest, _: Context
    ) -> pb.ListLanesResponse:
        limit = page(request.limit)
        async with self.api.transaction(tenant_id=tenant(request.tenant_id)) as tx:
            found = await requests.lanes_of(
                tx,
                request.tenant_id,
                after=words(request.after, "after"),
                limit=limit + 1,
                test_only=request.test_only,
            )
        return pb.ListLanesResponse(
            lanes=[shown.lane(row) for row in found[:limit]], has_more=len(found) > limit
        )

    @answering
    async def ListSuppressions(  # noqa: N802 - gRPC's names
        self, request: pb.ListSuppressionsRequest, _: Context
    ) -> pb.ListSuppressionsResponse:
        limit = page(request.limit)
        uuids([cursor for cursor in (request.after, request.before) if cursor])
        async with self.api.transaction(tenant_id=tenant(request.tenant_id)) as tx:
            found = await suppressions.find(
                tx,
                request.tenant_id,
                after=request.after,
                before=request.before,
                address=request.address,
                limit=limit + 1,
            )
        listed = found[:limit][::-1] if request.before else found[:limit]
        return pb.ListSuppressionsResponse(
            suppressions=[shown.suppression(row) for row in listed],
            has_more=len(found) > limit,
        )

    @answering
    async def AddSuppressions(  # noqa: N802 - gRPC's names
        self, request: pb.AddSuppressionsRequest, _: Context
    ) -> pb.AddSuppressionsResponse:
        async with self.api.transaction(tenant_id=tenant(request.tenant_id)) as tx:
            rows = await suppressions.add(
                tx,
                request.tenant_id,
                [words(one, "addresses") for one in request.addresses[:IDS_MAX]],
                origin=request.origin or "manual",
            )
        return pb.AddSuppressionsResponse(suppressions=[shown.suppression(row) for row in rows])

    @answering
    async def RemoveSuppressions(  # noqa: N802 - gRPC's names
        self, request: pb.RemoveSuppressionsRequest, _: Context
    ) -> pb.RemoveSuppressionsResponse:
        async with self.api.transaction(tenant_id=tenant(request.tenant_id)) as tx:
            rows = await suppressions.remove(tx, request.tenant_id, request.addresses[:IDS_MAX])
        return pb.RemoveSuppressionsResponse(removed=[shown.suppression(row) for row in rows])

    @answering
    async def Reconcile(  # noqa: N802 - gRPC's names
        self, request: pb.ReconcileRequest, _: Context
    ) -> pb.ReconcileResponse:
        forgotten = await self._prepare(uuids([e.message_id for e in request.envelopes]))
        audit = Audit(self.engine, self.outbox, self.journal, self.tenants, self.retry, self.health)
        return await audit.reconcile(request.envelopes, forgotten)

    @answering
    async def RepeatClosed(  # noqa: N802 - gRPC's names
        self, request: pb.RepeatClosedRequest, _: Context
    ) -> pb.RepeatClosedResponse:
        async with self.engine.transaction() as tx:
            finals = await closings.final(tx, uuids(request.message_ids))
            entry = await self._add(tx, [closed(final) for final in finals])
        self.outbox.publish_soon(entry, self.health)
        return pb.RepeatClosedResponse(repeated_ids=[final.message_id for final in finals])

    async def _add(self, tx: Transaction, events: Sequence[Message]) -> Entry:
        now = clock.now()
        return await self.outbox.add(tx, [encode(event, now) for event in events])

    async def _prepare(self, ids: Sequence[str]) -> set[str]:
        """The days of these messages: a cancelled one may be the first of its day. The ids of days
        that are forgotten."""
        try:
            async with self.engine.transaction() as tx:
                return await self.partitions.prepare(tx, ids)
        except ValueError as error:  # an id of no day
            raise Wrong(str(error)) from error


def uuids(texts: Sequence[str]) -> list[str]:
    if len(texts) > IDS_MAX:
        raise Wrong(f"at most {IDS_MAX} ids in one request")
    return [identity(text, repr(text[:50])) for text in texts]


def tenant(text: str) -> str:
    return identity(text, "tenant_id")


def check_owner(tenant_id: str, tenants: Sequence[str]) -> None:
    tenant(tenant_id)
    if any(one != tenant_id for one in tenants):
        raise Wrong("an envelope is another tenant's")


def page(limit: int) -> int:
    return min(limit or 20, PAGE_MAX)
