"""Decisions about messages after their DNS lookups."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from contracts.delivery.v1.events_pb2 import Reply
from contracts.ingest.v1.events_pb2 import MessageContext
from mail.address import domain_of
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.dispatch import Requeue
from services.router.domain.message import (
    CloseTransition,
    DueMessage,
    MessageRowState,
    ScheduledQueue,
)
from services.router.domain.routes import Answer, LookupFailure, NoRoute, Route

BAD_DOMAIN = "bad_domain"


@dataclass(slots=True)
class DnsResults:
    """DNS answers by queue. answers: None for a queue that mixes domains. failed: queues that are
    looked up again later; until then their messages do not change."""

    answers: dict[ActiveQueue, Route | NoRoute | None] = field(default_factory=dict)
    failed: dict[ActiveQueue, LookupFailure] = field(default_factory=dict)


@dataclass(slots=True)
class ResolutionDecisions:
    requeues: list[Requeue] = field(default_factory=list)
    closings: list[CloseTransition] = field(default_factory=list)


def look_up(
    queues: Iterable[ActiveQueue], lookup: Callable[[str, bool], Answer | None], *, lookups_max: int
) -> DnsResults:
    """lookup: takes a domain, and whether a DNS lookup may start; None while there is no answer.
    lookups_max: lookups that one tenant may have in progress."""
    results, started = DnsResults(), Counter[str]()
    for one in round_robin(queues):
        tenant_id, domain = one.queue.tenant_id, one.queue.domain
        if not domain:
            results.answers[one] = None
            continue
        match lookup(domain, started[tenant_id] < lookups_max):
            case None:
                started[tenant_id] += 1
            case LookupFailure() as failure:
                results.failed[one] = failure
            case Route() | NoRoute() as answer:
                results.answers[one] = answer
    return results


def round_robin(queues: Iterable[ActiveQueue]) -> Iterator[ActiveQueue]:
    """One queue of each tenant in turn, so that no tenant uses all the lookups."""
    by_tenant: dict[str, list[ActiveQueue]] = defaultdict(list)
    for one in queues:
        by_tenant[one.queue.tenant_id].append(one)
    return (one for one in chain(*zip_longest(*by_tenant.values())) if one)


def apply_answers(
    rows: Iterable[DueMessage], answers: Mapping[str, Route | NoRoute | None]
) -> ResolutionDecisions:
    """answers: by queue id."""
    result = ResolutionDecisions()
    for row in rows:
        queue, answer = ScheduledQueue.of(row.queue_id), answers[row.queue_id]
        if isinstance(answer, NoRoute):
            result.closings.append(close_unroutable(row, answer))
        elif answer is not None:
            target = queue._replace(site=answer.site, domain="")
            result.requeues.append(Requeue(row, target, row.due_s, ""))
        else:
            domain = domain_of(MessageContext.FromString(row.context).recipient)
            result.requeues.append(Requeue(row, queue._replace(domain=domain), row.due_s, "dns"))
    return result


def close_unroutable(row: DueMessage, answer: NoRoute) -> CloseTransition:
    """Bounce without a connection (RFC 7505 §4.1), with the enhanced code of the reason."""
    reply = Reply(enhanced=answer.enhanced, text=answer.text, step="dns")
    return CloseTransition(
        row.message_id,
        from_state=MessageRowState.QUEUED,
        attempt=row.attempt,
        state=MessageRowState.BOUNCED,
        reason=answer.reason,
        ambiguous=row.ambiguous,
        context=row.context,
        reply=reply.SerializeToString(),
        bounce_class=BAD_DOMAIN,
    )
