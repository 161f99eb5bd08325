"""HeldServicer: lists and reviews messages that are held for review."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1 import held_service_pb2 as pb
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.router.v1.held_service_pb2_grpc import HeldServiceServicer
from kernel import clock, metrics, times
from kernel.database import Database, RowOwner
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.ids import lower_bound_at
from kernel.outbox import Outbox
from kernel.rpc import Context, RequestError, check_text, map_errors, parse_id
from kernel.topics import encode
from services.router.domain.events import timestamp
from services.router.domain.held import (
    STATES,
    HeldFilter,
    HeldMessage,
    events_of_review,
    parse_screening,
)
from services.router.domain.message import MessageRowState, ScheduledQueue
from services.router.store import held
from services.router.store.held import MessageIdRange
from services.router.store.notify import SchedulerNotifier

IDS_MAX, TENANTS_MAX = 500, 100


@dataclass(frozen=True, slots=True)
class HeldServicer(HeldServiceServicer):
    """tenant_database: its role is under row-level security; it serves the requests of tenants."""

    system_database: Database
    tenant_database: Database
    outbox: Outbox
    health: DependencyHealth
    notifier: SchedulerNotifier

    @map_errors
    async def ListHeld(  # noqa: N802 - a name of the contract
        self, request: pb.ListHeldRequest, _: Context
    ) -> pb.ListHeldResponse:
        owner = owner_of(request)
        async with self._database_of(owner).transaction(**owner._asdict()) as tx:
            page = await held.read_page(
                tx,
                owner,
                filter_of(request.filter),
                bounds=bounds_of(request),
                limit=min(request.limit or 20, IDS_MAX),
                test_only=request.test_only,
            )
        return pb.ListHeldResponse(messages=map(to_proto, page.messages), next=page.next)

    @map_errors
    async def ReviewHeld(  # noqa: N802 - a name of the contract
        self, request: pb.ReviewHeldRequest, _: Context
    ) -> pb.ReviewHeldResponse:
        """The review and what it makes of the message are one transaction."""
        owner, ids = owner_of(request), parse_ids(request.message_ids)
        if request.review not in STATES:
            raise RequestError("there is no such review", field="review")
        reason, reviewer = check_text(request.reason, "reason"), request.reviewer
        async with self._database_of(owner).transaction(**owner._asdict()) as tx:
            reviewed = await held.review(
                tx,
                owner,
                ids=ids,
                verdict=request.review,
                test_only=request.test_only,
                cell_of=self.notifier.directory.cell_of,
            )
            queued = [
                one.row.queue_id for one in reviewed if one.row.state == MessageRowState.QUEUED
            ]
            cells = self.notifier.cells_of(ScheduledQueue.of(one).tenant_id for one in queued)
            await self.notifier.notify(tx, cells, unresolved=True)
            events = [
                event
                for one in reviewed
                for event in events_of_review(one, reason=reason, reviewer=reviewer)
            ]
            entry = await self.outbox.add(tx, [encode(one, clock.now()) for one in events])
            failpoint("router.review.in_transaction")
        failpoint("router.review.committed")
        count_closed(events)
        self.outbox.publish_in_background(entry, self.health)
        found = {one.row.message_id for one in reviewed}
        return pb.ReviewHeldResponse(
            reviewed_ids=[one for one in ids if one in found],
            not_held_ids=[one for one in ids if one not in found],
        )

    @map_errors
    async def CountHeld(  # noqa: N802 - a name of the contract
        self, request: pb.CountHeldRequest, _: Context
    ) -> pb.CountHeldResponse:
        if len(request.tenant_ids) > TENANTS_MAX:
            raise RequestError(f"too many tenants. Send at most {TENANTS_MAX}.", field="tenant_ids")
        tenant_ids = [parse_id(one, "tenant_ids") for one in request.tenant_ids]
        async with self.system_database.transaction() as tx:
            return pb.CountHeldResponse(messages=await held.count_by_campaign(tx, tenant_ids))

    def _database_of(self, owner: RowOwner) -> Database:
        return self.tenant_database if owner.tenant_id else self.system_database


def owner_of(request: pb.ListHeldRequest | pb.ReviewHeldRequest) -> RowOwner:
    """The tenant, or else the account, or else nobody: all. Raises RequestError."""
    if request.tenant_id:
        return RowOwner(parse_id(request.tenant_id, "tenant_id"), None)
    account_id = request.account_id
    return RowOwner(None, parse_id(account_id, "account_id") if account_id else None)


def parse_ids(texts: Sequence[str]) -> list[str]:
    """Without repeats. Raises RequestError."""
    if len(texts) > IDS_MAX:
        raise RequestError(f"too many ids ({len(texts)}). Send at most {IDS_MAX} in one request.")
    return list(dict.fromkeys(parse_id(text, "id") for text in texts))


def filter_of(given: pb.HeldFilter) -> HeldFilter:
    return HeldFilter(
        given.rule,
        given.recipient_domain,
        given.sender,
        given.score_from if given.HasField("score_from") else None,
        given.score_below if given.HasField("score_below") else None,
        parse_id(given.campaign_id, "campaign_id") if given.campaign_id else "",
    )


def bounds_of(request: pb.ListHeldRequest) -> MessageIdRange:
    """Ids begin with the time of the acceptance."""
    given, bounds = request.filter, MessageIdRange()
    if given.HasField("since"):
        first = lower_bound_at(times.clamp_timestamp(given.since))
        bounds = bounds._replace(first=str(first))
    if given.HasField("until"):
        last = lower_bound_at(times.clamp_timestamp(given.until))
        bounds = bounds._replace(before=str(last))
    if request.after:
        before = min(bounds.before, parse_id(request.after, "after"))
        bounds = bounds._replace(before=before)
    return bounds


def to_proto(row: HeldMessage) -> pb.HeldMessage:
    return pb.HeldMessage(
        context=MessageContext.FromString(row.context),
        screening=parse_screening(row.screening),
        held_at=timestamp(row.held_s) if row.held_s else None,
        expires_at=timestamp(row.expires_s),
        reason=row.reason,
    )


def count_closed(events: Sequence[Message]) -> None:
    for _ in (one for one in events if isinstance(one, MessageClosed)):
        metrics.closed.labels(MessageRowState.FAILED).inc()
