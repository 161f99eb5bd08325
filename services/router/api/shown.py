"""Rows as they are answered."""

from contracts.delivery.v1.events_pb2 import Reply
from contracts.router.v1 import router_service_pb2 as pb
from services.router.domain.facts import timestamp
from services.router.domain.message import State
from services.router.store.requests import LaneSeen, Seen
from services.router.store.suppressions import Suppressed

TRANSIENT = (State.EXPECTED, State.WAITING, State.HELD)


def state(row: Seen) -> pb.MessageState:
    """What it waits for: its lane's binding constraint once its own time has come."""
    reason, due_s = row.reason, row.due_s
    if row.state == State.WAITING and row.is_due and row.binding:
        reason, due_s = row.binding, row.release_s or row.due_s
    elif row.state == State.WAITING and not row.is_due and not reason:
        reason = "scheduled"
    return pb.MessageState(
        message_id=row.message_id,
        state=row.state,
        wait_reason=reason if row.state in TRANSIENT else "",
        due_at=timestamp(due_s),
        attempt=row.attempt,
        tries=row.tries,
        ambiguous=row.ambiguous,
        reply=Reply.FromString(row.reply) if row.reply else None,
        lane=row.lane,
        egress_id=row.egress_id,
    )


def lane(row: LaneSeen) -> pb.Lane:
    return pb.Lane(
        lane=row.lane,
        site=row.site,
        next_at=timestamp(row.next_s) if row.next_s else None,
        binding=row.binding,
        waiting=row.waiting,
    )


def suppression(row: Suppressed) -> pb.Suppression:
    return pb.Suppression(
        address=row.address,
        origin=row.origin,
        created_at=timestamp(row.created_s),
        source_id=row.source_id,
        id=row.suppression_id,
    )
