"""Mail that is held for review: why, and what a reviewer makes of it. The router has it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple

from msgspec import Meta

from contracts.router.v1 import held_service_pb2 as pb
from contracts.router.v1.events_pb2 import REVIEW_REJECTED, REVIEW_RELEASED, Review, Reviewer
from contracts.shield.v1.events_pb2 import ScoreReason
from mail.address import AddressError
from services.ingest.api.administration.directory import check_id
from services.ingest.api.callers import Caller
from services.ingest.api.rest_base import format_timestamp, parse_time_parameter
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.waiting_filter import comparable_sender

REVIEWED_MAX = 500  # messages of a request
SCORE_MAX = 1_000_000.0
RELEASED: Final = "released"
REJECTED: Final = "rejected"
REVIEWS: Mapping[str, Review.ValueType] = MappingProxyType(
    {RELEASED: REVIEW_RELEASED, REJECTED: REVIEW_REJECTED}
)
Verdict = Literal["released", "rejected"]
Why = Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE)]
Score = Annotated[float, Meta(ge=-SCORE_MAX, le=SCORE_MAX)]
Text = Annotated[str, Meta(max_length=400, pattern=LINE)]


class HeldFilter(RequestModel):
    """Messages that match every given field. `rule`: of one of the reasons. `sender` is an address
    or a domain. `score_below`: what would pass if this were the `hold_score`. `since`, `until`:
    when the email was accepted. `campaign_id`: with or without a campaign that is held. `all` is
    for every held message."""

    rule: Text = ""
    recipient_domain: Text = ""
    sender: Text = ""
    score_from: Score | None = None
    score_below: Score | None = None
    since: Text = ""
    until: Text = ""
    campaign_id: Text = ""
    all: bool = False


class ReviewHeldRequest(RequestModel):
    """Held messages, by id or by a filter, and why they are released or rejected. By a filter, a
    call finds up to 500 messages; the next one goes on with `after` set to `next`."""

    reason: Why
    ids: Annotated[list[str], Meta(min_length=1, max_length=REVIEWED_MAX)] | None = None
    filter: HeldFilter | None = None
    after: Text = ""
    dry_run: bool = False


class ReviewEmailRequest(RequestModel):
    """Why an email is released or rejected."""

    reason: Annotated[str, Meta(max_length=500, pattern=LINE)] = ""


class HeldReview(NamedTuple):
    """found: messages that matched, or were named. next: the `after` of the next call; empty at the
    end."""

    found: int
    reviewed: Sequence[str]
    not_held: Sequence[str]
    next: str = ""

    def to_json(self) -> dict[str, object]:
        return {
            "object": "held_review",
            "found": self.found,
            "reviewed": list(self.reviewed),
            "not_held": list(self.not_held),
            "next": self.next or None,
        }


class HeldMailResource:
    """That of a tenant, of all tenants of an account, or for an operator of all. A test key sees
    test mail only. Raises Problem."""

    def __init__(self, clients: ServiceClients) -> None:
        self._held = clients.held

    async def page(
        self, caller: Caller, wanted: HeldFilter, *, limit: int, after: str
    ) -> pb.ListHeldResponse:
        """Newest first."""
        return await self._list(
            caller,
            filter_of(wanted),
            limit=limit,
            after=check_id(after, "#/after") if after else "",
        )

    async def review(
        self, caller: Caller, given: ReviewHeldRequest, verdict: Verdict
    ) -> HeldReview:
        check_review(given)
        if given.filter is None:
            ids = [check_id(one, f"#/ids/{n}") for n, one in enumerate(given.ids or ())]
            return await self.review_ids(caller, ids, verdict=verdict, reason=given.reason)
        after = check_id(given.after, "#/after") if given.after else ""
        wanted = filter_of(given.filter, within="#/filter")
        page = await self._list(caller, wanted, limit=REVIEWED_MAX, after=after)
        ids = [one.context.message_id for one in page.messages]
        if given.dry_run or not ids:
            return HeldReview(len(ids), [], [], page.next)
        done = await self.review_ids(caller, ids, verdict=verdict, reason=given.reason)
        return done._replace(next=page.next)

    async def review_ids(
        self, caller: Caller, ids: Sequence[str], *, verdict: Verdict, reason: str
    ) -> HeldReview:
        request = pb.ReviewHeldRequest(
            **owner_of(caller),
            message_ids=ids,
            review=REVIEWS[verdict],
            reason=reason,
            reviewer=reviewer_of(caller),
        )
        response = await self._held.call(self._held.stub.ReviewHeld, request)
        return HeldReview(len(set(ids)), response.reviewed_ids, response.not_held_ids)

    async def _list(
        self, caller: Caller, wanted: pb.HeldFilter, *, limit: int, after: str
    ) -> pb.ListHeldResponse:
        request = pb.ListHeldRequest(**owner_of(caller), filter=wanted, limit=limit, after=after)
        return await self._held.call(self._held.stub.ListHeld, request)


def owner_of(caller: Caller) -> dict[str, Any]:
    """The fields of a request that say what the caller sees."""
    if caller.tenant_id:
        return {"tenant_id": caller.tenant_id, "test_only": caller.test}
    return {"account_id": caller.account_id, "test_only": caller.test}


def reviewer_of(caller: Caller) -> Reviewer:
    return Reviewer(
        kind=caller.kind.value,
        key_id=caller.key.key_id,
        account_id=caller.key.account_id,
        request_id=caller.request_id,
        client=caller.client,
    )


def check_review(given: ReviewHeldRequest) -> None:
    """Raises Problem, also for an empty filter: a mistake would review everything."""
    if (given.ids is None) == (given.filter is None):
        raise invalid([Fault("#", "invalid", "Give either ids or a filter.")])
    if given.ids is not None and (given.after or given.dry_run):
        raise invalid([Fault("#", "invalid", "after and dry_run belong to a filter.")])
    if given.filter == HeldFilter():
        detail = "The filter is empty. Name what to review, or set all to true."
        raise invalid([Fault("#/filter", "missing_required_field", detail)])


def filter_of(given: HeldFilter, *, within: str = "#") -> pb.HeldFilter:
    """In the form in which messages are compared. within: the pointer to the filter. Raises
    Problem."""
    try:
        return pb.HeldFilter(
            rule=given.rule,
            recipient_domain=comparable(given.recipient_domain),
            sender=comparable(given.sender),
            score_from=given.score_from,
            score_below=given.score_below,
            since=parse_time_parameter(given.since, "since"),
            until=parse_time_parameter(given.until, "until"),
            campaign_id=check_id(given.campaign_id, "#/campaign_id") if given.campaign_id else "",
        )
    except Problem as problem:
        faults = [
            Fault(one.pointer.replace("#", within, 1), one.code, one.detail)
            for one in problem.faults
        ]
        raise invalid(faults) from problem


def comparable(name: str) -> str:
    """An address or a domain. What is neither matches nothing."""
    try:
        return comparable_sender(name) if name else ""
    except AddressError:
        return name


def to_json(held: pb.HeldMessage) -> dict[str, object]:
    context, screening = held.context, held.screening
    return {
        "object": "held_message",
        "id": context.message_id,
        "email_id": context.email_id,
        "tenant_id": context.tenant_id,
        "from": context.sender,
        "recipient": context.recipient,
        "test": context.test,
        "held_at": format_timestamp(held.held_at),
        "expires_at": format_timestamp(held.expires_at),
        "reason": held.reason,
        "score": screening.score,
        "reasons": reasons_to_json(screening.reasons),
        "rules_version": screening.rules_version,
        "model_version": screening.model_version,
    }


def reasons_to_json(reasons: Sequence[ScoreReason]) -> list[dict[str, object]]:
    return [
        {
            "rule": one.rule,
            "score": one.score,
            "detail": one.detail,
            "explanation": one.explanation,
            "advice": one.advice,
        }
        for one in reasons
    ]
