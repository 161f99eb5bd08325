"""/v1/emails: send, batch, list, get, timeline, reschedule, cancel, release, reject."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api import views
from services.ingest.api.access import Principal
from services.ingest.api.emails import EmailResource
from services.ingest.api.held import REJECTED, RELEASED, ReviewEmailRequest, Verdict
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_optional_body,
    decode_request_body,
    json_response,
    list_response,
    parse_time_parameter,
    request_of,
)
from services.ingest.api.sending import SendHandler
from services.ingest.domain.email import (
    SendEmailRequest,
    SendRawRequest,
    UpdateEmailRequest,
    decode_update,
)

decode_review = msgspec.json.Decoder(ReviewEmailRequest).decode
Filter = Annotated[str, Query(max_length=400)]
SENT = {202: {"description": "durable"}, **PROBLEM_RESPONSES}


def routes(access: RestAccess, send_handler: SendHandler, emails: EmailResource) -> APIRouter:
    router = APIRouter(prefix="/v1/emails", tags=["emails"], responses=PROBLEM_RESPONSES)
    _add_sending(router, access, send_handler)
    _add_reading(router, access, emails)
    _add_reading_one(router, access, emails)
    _add_changing(router, access, emails)
    _add_reviews(router, access, emails)
    return router


def _add_sending(router: APIRouter, access: RestAccess, send_handler: SendHandler) -> None:
    @router.post(
        "",
        status_code=202,
        openapi_extra=body_schema(SendEmailRequest, "an email", or_else=SendRawRequest),
        summary="Send an email",
    )
    async def send(incoming: Incoming) -> Response:
        """The email is durable when 202 is returned. With `scheduled_at`, at most 30 days ahead, it
        is sent at that time, or at once if that time has passed."""
        principal = await access.authenticate(incoming)
        request = request_of(incoming)
        content, fields = await send_handler.send_one(request, principal, incoming.receive)
        return Response(content, 202, {k.decode(): v.decode() for k, v in fields})

    @router.post(
        "/batch",
        status_code=202,
        openapi_extra=body_schema(list[SendEmailRequest], "Up to 500 emails"),
        summary="Send many emails",
    )
    async def send_batch(incoming: Incoming) -> Response:
        """All emails are accepted or none; with `x-batch-validation: permissive` all valid ones."""
        principal = await access.authenticate(incoming)
        request = request_of(incoming)
        content, fields = await send_handler.send_batch(request, principal, incoming.receive)
        return Response(content, 202, {k.decode(): v.decode() for k, v in fields})


def owner_lookup(
    access: RestAccess, emails: EmailResource
) -> Callable[[Incoming, str], Awaitable[Principal]]:
    async def owner_of(incoming: Incoming, email_id: str) -> Principal:
        """The caller, with the tenant of an email. Raises Problem."""
        caller = await access.authenticate_caller(incoming)
        return await emails.principal_of(caller, email_id)

    return owner_of


def _add_reading(router: APIRouter, access: RestAccess, emails: EmailResource) -> None:
    @router.get("", summary="List emails")
    async def list_emails(  # noqa: PLR0913 - the filters that there are
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        status: Filter = "",
        to: Filter = "",
        tag: Filter = "",
        domain: Filter = "",
        since: Filter = "",
        until: Filter = "",
    ) -> Response:
        """Newest first. tag: name or name:value. domain: domain of a recipient. Without
        `X-Tenant-Id`, the emails of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        filters: dict[str, Any] = {"status": status, "to": to, "tag": tag, "domain": domain}
        for name, text in (("since", since), ("until", until)):
            filters[name] = parse_time_parameter(text, name)
        found, has_more = await emails.search(caller, requested_page, **filters)
        return list_response(map(views.logged_email_to_json, found), has_more=has_more)


def _add_reading_one(router: APIRouter, access: RestAccess, emails: EmailResource) -> None:
    owner_of = owner_lookup(access, emails)

    @router.get("/{email_id}", summary="Get an email")
    async def get_email(incoming: Incoming, email_id: str) -> Response:
        """The email with the state of each recipient, and the reason why it is queued."""
        principal = await owner_of(incoming, email_id)
        email = await emails.get(principal, email_id)
        return json_response(views.to_json(email, await emails.content(principal, email.email)))

    @router.get("/{email_id}/events", summary="Get the timeline of an email")
    async def list_events(
        incoming: Incoming,
        email_id: str,
        *,
        requested_page: RequestedForwardPage,
    ) -> Response:
        principal = await owner_of(incoming, email_id)
        found, has_more = await emails.events(principal, email_id, requested_page)
        return list_response(map(views.event_to_json, found), has_more=has_more)


def _add_changing(router: APIRouter, access: RestAccess, emails: EmailResource) -> None:
    owner_of = owner_lookup(access, emails)

    @router.patch(
        "/{email_id}",
        openapi_extra=body_schema(UpdateEmailRequest, "The new time"),
        summary="Reschedule an email",
    )
    async def reschedule(incoming: Incoming, email_id: str) -> Response:
        """409 `not_scheduled` if delivery has started. A time that has passed sends the email at
        once."""
        principal = await owner_of(incoming, email_id)
        change = await decode_request_body(incoming, decode_update)
        moved = await emails.reschedule(principal, email_id, change.scheduled_at)
        return json_response({"object": "email", "id": moved})

    @router.post("/{email_id}/cancel", summary="Cancel an email")
    async def cancel(incoming: Incoming, email_id: str) -> Response:
        """Canceling again has no effect; 409 `not_scheduled` if delivery has started."""
        principal = await owner_of(incoming, email_id)
        return json_response({"object": "email", "id": await emails.cancel(principal, email_id)})


def _add_reviews(router: APIRouter, access: RestAccess, emails: EmailResource) -> None:
    owner_of = owner_lookup(access, emails)
    schema = body_schema(ReviewEmailRequest, "Why", required=False)

    async def review(incoming: Incoming, email_id: str, verdict: Verdict) -> Response:
        principal = await owner_of(incoming, email_id)
        given = await decode_optional_body(incoming, decode_review)
        ids = await emails.review(principal, email_id, verdict, reason=given.reason)
        return json_response({"object": "email", "id": email_id, verdict: ids})

    @router.post(
        "/{email_id}/release",
        openapi_extra=schema,
        summary="Release an email that is held for review",
    )
    async def release(incoming: Incoming, email_id: str) -> Response:
        """409 `not_held` if none of its messages is held."""
        return await review(incoming, email_id, RELEASED)

    @router.post(
        "/{email_id}/reject",
        openapi_extra=schema,
        summary="Reject an email that is held",
    )
    async def reject(incoming: Incoming, email_id: str) -> Response:
        """Its held messages fail, with the reason `rejected`. 409 `not_held` if none is held."""
        return await review(incoming, email_id, REJECTED)
