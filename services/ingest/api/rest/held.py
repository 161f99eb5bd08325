"""/v1/held: mail that waits for a review."""

from typing import Annotated, TypeAlias

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.held import (
    REJECTED,
    RELEASED,
    SCORE_MAX,
    HeldFilter,
    HeldMailResource,
    ReviewHeldRequest,
    Verdict,
    to_json,
)
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    json_response,
)

Filter: TypeAlias = Annotated[str, Query(max_length=400)]
Score: TypeAlias = Annotated[float | None, Query(ge=-SCORE_MAX, le=SCORE_MAX)]
decode_review = msgspec.json.Decoder(ReviewHeldRequest).decode


def filter_of_query(  # noqa: PLR0913 - the filters that there are
    *,
    rule: Filter = "",
    recipient_domain: Filter = "",
    sender: Filter = "",
    score_from: Score = None,
    score_below: Score = None,
    since: Filter = "",
    until: Filter = "",
    campaign_id: Filter = "",
) -> HeldFilter:
    """A dependency for routes."""
    return HeldFilter(
        rule=rule, recipient_domain=recipient_domain, sender=sender, score_from=score_from,
        score_below=score_below, since=since, until=until,
        campaign_id=campaign_id,
    )  # fmt: skip


RequestedFilter: TypeAlias = Annotated[HeldFilter, Depends(filter_of_query)]


def routes(access: RestAccess, held: HeldMailResource) -> APIRouter:
    router = APIRouter(prefix="/v1/held", tags=["shield"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the messages that are held for review")
    async def list_held(
        incoming: Incoming, *, requested_page: RequestedForwardPage, wanted: RequestedFilter
    ) -> Response:
        """Newest first. Without `X-Tenant-Id`, those of all tenants of an account, or for an
        operator of all accounts. rule: of one of the reasons. sender: an address or a domain.
        score_below: what would pass if this were the `hold_score`. since, until: when the email
        was accepted. The next page starts after `next`; a page may be short or empty before the
        end."""
        caller = await access.authenticate_caller(incoming)
        page = await held.page(
            caller, wanted, limit=requested_page.limit, after=requested_page.after
        )
        found = {"has_more": bool(page.next), "next": page.next or None}
        return json_response({"object": "list", **found, "data": list(map(to_json, page.messages))})

    async def review(incoming: Incoming, verdict: Verdict) -> Response:
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_review)
        return json_response((await held.review(caller, given, verdict)).to_json())

    schema = body_schema(ReviewHeldRequest, "Which messages, and why")

    @router.post("/release", openapi_extra=schema, summary="Release held messages")
    async def release(incoming: Incoming) -> Response:
        """They are sent. Of two reviews of a message the first one counts. By a filter, repeat the
        call with `after` set to `next` until `next` is null."""
        return await review(incoming, RELEASED)

    @router.post("/reject", openapi_extra=schema, summary="Reject held messages")
    async def reject(incoming: Incoming) -> Response:
        """They fail, with the reason `rejected`. Otherwise as for a release."""
        return await review(incoming, REJECTED)

    return router
