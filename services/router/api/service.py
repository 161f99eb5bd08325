"""RouterServicer: each method opens a transaction, queries, and responds."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel import clock, tenant_accounts
from kernel.database import Database, RowOwner, Transaction
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from kernel.rpc import Context, RequestError, check_text, map_errors, parse_id
from kernel.table import ReplicatedTable
from kernel.topics import encode
from services.router.api import to_proto
from services.router.api.reconciler import Reconciler
from services.router.api.suppressions import (
    address_of,
    names_to_remove,
    new_suppressions,
    suppression_query,
)
from services.router.clients.journal import JournalClient
from services.router.domain.events import message_closed, unix_s
from services.router.domain.message import MessageRowState
from services.router.domain.new_messages import new_message
from services.router.domain.retry import RetryPolicy
from services.router.store import closings, erasure, requests, suppressions, waiting_messages
from services.router.store.address_key import AddressHashKey
from services.router.store.day_partitions import DayPartitions
from services.router.store.notify import SchedulerNotifier

IDS_MAX = 1000
PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class RouterServicer(RouterServiceServicer):
    """tenant_database: its role is under row-level security; it serves the requests of tenants."""

    system_database: Database
    tenant_database: Database
    outbox: Outbox
    health: DependencyHealth
    journal: JournalClient
    partitions: DayPartitions
    tenants: ReplicatedTable[Tenant]
    retry: RetryPolicy
    notifier: SchedulerNotifier
    address_key: AddressHashKey

    @map_errors
    async def GetStates(  # noqa: N802 - a name of the contract
        self, request: pb.GetStatesRequest, _: Context
    ) -> pb.GetStatesResponse:
        ids = parse_ids(request.message_ids)
        async with self.tenant_database.transaction(
            tenant_id=parse_tenant_id(request.tenant_id)
        ) as tx:
            views = await requests.load_states(tx, request.tenant_id, ids)
        return pb.GetStatesResponse(states=[to_proto.message_state(row) for row in views])

    @map_errors
    async def Cancel(  # noqa: N802 - a name of the contract
        self, request: pb.CancelRequest, _: Context
    ) -> pb.CancelResponse:
        new_messages = [
            new_message(context, MessageRowState.CANCELED) for context in request.contexts
        ]
        check_tenant(request.tenant_id, [a.tenant_id for a in new_messages])
        ids = parse_ids([a.message_id for a in new_messages])
        await self._prepare(ids)
        async with self.tenant_database.transaction(tenant_id=request.tenant_id) as tx:
            closed_messages = await requests.cancel(tx, new_messages)
            entry = await self._add_to_outbox(
                tx, [message_closed(closed_message) for closed_message in closed_messages]
            )
            views = await requests.load_states(tx, request.tenant_id, ids)
        self.outbox.publish_in_background(entry, self.health)
        canceled = {row.message_id for row in views if row.state == MessageRowState.CANCELED}
        return pb.CancelResponse(
            canceled_ids=[one for one in ids if one in canceled],
            too_late_ids=[one for one in ids if one not in canceled],
        )

    @map_errors
    async def Reschedule(  # noqa: N802 - a name of the contract
        self, request: pb.RescheduleRequest, _: Context
    ) -> pb.RescheduleResponse:
        new_messages = [
            new_message(context, MessageRowState.EXPECTED) for context in request.contexts
        ]
        check_tenant(request.tenant_id, [a.tenant_id for a in new_messages])
        ids = parse_ids([a.message_id for a in new_messages])
        await self._prepare(ids)
        async with self.tenant_database.transaction(tenant_id=request.tenant_id) as tx:
            cell_of, due_s = self.notifier.directory.cell_of, unix_s(request.due_at)
            rescheduled = await requests.reschedule(tx, new_messages, cell_of, due_s=due_s)
            await self.notifier.notify(tx, [cell_of(request.tenant_id)], unresolved=True)
        return pb.RescheduleResponse(
            rescheduled_ids=rescheduled,
            too_late_ids=[one for one in ids if one not in set(rescheduled)],
        )

    @map_errors
    async def ListWaiting(  # noqa: N802 - a name of the contract
        self, request: pb.ListWaitingRequest, _: Context
    ) -> pb.ListWaitingResponse:
        tenant_id = parse_tenant_id(request.tenant_id)
        after = parse_id(request.after, "after") if request.after else ""
        async with self.system_database.transaction() as tx:
            found, next_id = await waiting_messages.read_page(tx, tenant_id, after=after)
        return pb.ListWaitingResponse(messages=map(to_proto.waiting_message, found), next=next_id)

    @map_errors
    async def ListQueues(  # noqa: N802 - a name of the contract
        self, request: pb.ListQueuesRequest, _: Context
    ) -> pb.ListQueuesResponse:
        owner, limit = owner_of(request), page_size(request.limit)
        after = check_text(request.after, "after")
        if owner.account_id is not None and after:
            parse_id(after.partition("/")[0], "after")
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            found = await requests.load_queue_views(
                tx, owner, after=after, limit=limit + 1, test_only=request.test_only
            )
        return pb.ListQueuesResponse(
            queues=[to_proto.queue(row) for row in found[:limit]], has_more=len(found) > limit
        )

    @map_errors
    async def ListSuppressions(  # noqa: N802 - a name of the contract
        self, request: pb.ListSuppressionsRequest, _: Context
    ) -> pb.ListSuppressionsResponse:
        owner, limit = owner_of(request), min(request.limit or 20, IDS_MAX)
        for name in ("after", "before"):
            if cursor := getattr(request, name):
                parse_id(cursor, name)
        parse_ids([cursor for cursor in (request.after, request.before) if cursor])
        key = await self.address_key.load()
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            found = await suppressions.list_page(
                tx,
                owner,
                suppression_query(request, key),
                after=request.after,
                before=request.before,
                limit=limit + 1,
                account_wide=request.account_wide,
            )
        listed = found[:limit][::-1] if request.before else found[:limit]
        return pb.ListSuppressionsResponse(
            suppressions=map(to_proto.suppression, listed), has_more=len(found) > limit
        )

    @map_errors
    async def AddSuppressions(  # noqa: N802 - a name of the contract
        self, request: pb.AddSuppressionsRequest, _: Context
    ) -> pb.AddSuppressionsResponse:
        owner, new = owner_of(request), new_suppressions(request)
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            if owner.tenant_id:
                account = (owner.tenant_id, request.account_id)
                await tenant_accounts.record_accounts(tx, "router", [account])
            added = await suppressions.add(tx, owner, new)
            events = [] if request.silent else added.events(request.added_by)
            entry = await self._add_to_outbox(tx, events)
        self.outbox.publish_in_background(entry, self.health)
        return pb.AddSuppressionsResponse(
            suppressions=map(to_proto.suppression, added.suppressions), changed_ids=added.changed
        )

    @map_errors
    async def RemoveSuppressions(  # noqa: N802 - a name of the contract
        self, request: pb.RemoveSuppressionsRequest, _: Context
    ) -> pb.RemoveSuppressionsResponse:
        owner, names = owner_of(request), names_to_remove(request)
        key = await self.address_key.load()
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            done = await suppressions.remove(
                tx, owner, names, key=key, of_list=request.list, force=request.force
            )
            entry = await self._add_to_outbox(tx, done.events(request.removed_by))
        self.outbox.publish_in_background(entry, self.health)
        return pb.RemoveSuppressionsResponse(
            removed=map(to_proto.suppression, done.removed),
            refused=map(to_proto.suppression, done.refused),
        )

    @map_errors
    async def EraseMessages(  # noqa: N802 - a name of the contract
        self, request: pb.EraseMessagesRequest, _: Context
    ) -> pb.EraseMessagesResponse:
        address, key = address_of(request), await self.address_key.load()
        ids, tenant_id = parse_ids(request.message_ids), parse_tenant_id(request.tenant_id)
        async with self.system_database.transaction() as tx:
            open_ids = await erasure.erase_messages(tx, tenant_id, ids, address=address, key=key)
        return pb.EraseMessagesResponse(open_ids=open_ids)

    @map_errors
    async def EraseSuppressions(  # noqa: N802 - a name of the contract
        self, request: pb.EraseSuppressionsRequest, _: Context
    ) -> pb.EraseSuppressionsResponse:
        owner, key = owner_of(request), await self.address_key.load()
        address = address_of(request)
        async with self.system_database.transaction() as tx:
            await erasure.erase_suppressions(tx, owner, address, key=key)
        return pb.EraseSuppressionsResponse()

    @map_errors
    async def Reconcile(  # noqa: N802 - a name of the contract
        self, request: pb.ReconcileRequest, _: Context
    ) -> pb.ReconcileResponse:
        dropped_ids = await self._prepare(parse_ids([e.message_id for e in request.contexts]))
        reconciler = Reconciler(
            self.system_database, self.outbox, self.journal, self.tenants, self.retry, self.health
        )
        return await reconciler.reconcile(request.contexts, dropped_ids)

    @map_errors
    async def RepublishClosed(  # noqa: N802 - a name of the contract
        self, request: pb.RepublishClosedRequest, _: Context
    ) -> pb.RepublishClosedResponse:
        async with self.system_database.transaction() as tx:
            closed_messages = await closings.load_closed(tx, parse_ids(request.message_ids))
            entry = await self._add_to_outbox(
                tx, [message_closed(closed_message) for closed_message in closed_messages]
            )
        self.outbox.publish_in_background(entry, self.health)
        return pb.RepublishClosedResponse(
            republished_ids=[closed_message.message_id for closed_message in closed_messages]
        )

    async def _add_to_outbox(self, tx: Transaction, events: Sequence[Message]) -> OutboxEntry:
        now = clock.now()
        return await self.outbox.add(tx, [encode(event, now) for event in events])

    async def _prepare(self, ids: Sequence[str]) -> set[str]:
        """Create the day partitions of these messages: a canceled one may be the first of its day.
        Returns the ids whose day was dropped."""
        try:
            async with self.system_database.transaction() as tx:
                return await self.partitions.create_missing_days(tx, ids)
        except ValueError as error:  # the id is not a UUIDv7, so it has no day
            raise RequestError(str(error)) from error


def parse_ids(texts: Sequence[str]) -> list[str]:
    if len(texts) > IDS_MAX:
        raise RequestError(f"too many ids ({len(texts)}). Send at most {IDS_MAX} in one request.")
    return [parse_id(text, "id") for text in texts]


def parse_tenant_id(text: str) -> str:
    return parse_id(text, "tenant_id")


def owner_of(
    request: pb.ListQueuesRequest
    | pb.ListSuppressionsRequest
    | pb.AddSuppressionsRequest
    | pb.RemoveSuppressionsRequest
    | pb.EraseSuppressionsRequest,
) -> RowOwner:
    """The tenant, or else the account."""
    if request.tenant_id or not request.account_id:
        return RowOwner(parse_tenant_id(request.tenant_id), None)
    return RowOwner(None, parse_id(request.account_id, "account_id"))


def check_tenant(tenant_id: str, tenants: Sequence[str]) -> None:
    parse_tenant_id(tenant_id)
    if any(one != tenant_id for one in tenants):
        raise RequestError("a context belongs to another tenant. Send contexts of tenant_id only.")


def page_size(limit: int) -> int:
    return min(limit or 20, PAGE_MAX)
