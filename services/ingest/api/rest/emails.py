"""/v1/emails: batch, list, get, timeline, reschedule, cancel, release."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from kernel import auth
from services.ingest.api import views
from services.ingest.api.emails import EmailService
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    Page,
    RestAccess,
    body,
    body_schema,
    forward_page,
    json_response,
    list_response,
    page,
    parse_time_parameter,
    request_of,
)
from services.ingest.api.sending import SendHandler
from services.ingest.domain.email import SendEmailRequest, UpdateEmailRequest, decode_update

Filter = Annotated[str, Query(max_length=400)]
SENT = {202: {"description": "durable"}, **PROBLEM_RESPONSES}


def routes(access: RestAccess, send_handler: SendHandler, emails: EmailService) -> APIRouter:
    router = APIRouter(prefix="/v1/emails", tags=["emails"], responses=PROBLEM_RESPONSES)
    _add_sending(router, access, send_handler)
    _add_reading(router, access, emails)
    _add_changing(router, access, emails)
    return router


def _add_sending(router: APIRouter, access: RestAccess, send_handler: SendHandler) -> None:
    @router.post(
        "",
        status_code=202,
        openapi_extra=body_schema(SendEmailRequest, "an email"),
        summary="Send an email",
    )
    async def send(incoming: Incoming) -> Response:
        """202 when it is durable. With `scheduled_at` it leaves then, 30 days ahead at most; at
        once when that has passed."""
        principal = await access.authenticate(incoming, auth.SENDING_ACCESS)
        request = request_of(incoming)
        content, fields = await send_handler.send_one(request, principal, incoming.receive)
        return Response(content, 202, {k.decode(): v.decode() for k, v in fields})

    @router.post(
        "/batch",
        status_code=202,
        openapi_extra=body_schema(list[SendEmailRequest], "up to 500 emails"),
        summary="Send many emails",
    )
    async def send_batch(incoming: Incoming) -> Response:
        """All or none; with `x-batch-validation: permissive` those that are valid."""
        principal = await access.authenticate(incoming, auth.SENDING_ACCESS)
        request = request_of(incoming)
        content, fields = await send_handler.send_batch(request, principal, incoming.receive)
        return Response(content, 202, {k.decode(): v.decode() for k, v in fields})


def _add_reading(router: APIRouter, access: RestAccess, emails: EmailService) -> None:
    @router.get("", summary="List emails")
    async def list_emails(  # noqa: PLR0913 - the filters that there are
        incoming: Incoming,
        *,
        wanted_page: Annotated[Page, Depends(page)],
        status: Filter = "",
        to: Filter = "",
        tag: Filter = "",
        domain: Filter = "",
        since: Filter = "",
        until: Filter = "",
    ) -> Response:
        """Newest first. tag: name or name:value. domain: of a recipient."""
        principal = await access.authenticate(incoming)
        filters: dict[str, Any] = {"status": status, "to": to, "tag": tag, "domain": domain}
        times = {
            "since": parse_time_parameter(since, "since"),
            "until": parse_time_parameter(until, "until"),
        }
        found, has_more = await emails.search(principal, wanted_page, **filters, **times)
        return list_response(map(views.logged_email_to_json, found), has_more=has_more)

    @router.get("/{email_id}", summary="Where is it, and why does it wait?")
    async def get_email(incoming: Incoming, email_id: str) -> Response:
        """Our own row, with each recipient's state from the router when it answers."""
        principal = await access.authenticate(incoming)
        email = await emails.get(principal, email_id)
        return json_response(views.to_json(email, await emails.content(principal, email.email)))

    @router.get("/{email_id}/events", summary="Its timeline, with the receivers' replies")
    async def list_events(
        incoming: Incoming, email_id: str, *, wanted_page: Annotated[Page, Depends(forward_page)]
    ) -> Response:
        principal = await access.authenticate(incoming)
        found, has_more = await emails.events(principal, email_id, wanted_page)
        return list_response(map(views.event_to_json, found), has_more=has_more)


def _add_changing(router: APIRouter, access: RestAccess, emails: EmailService) -> None:
    @router.patch(
        "/{email_id}",
        openapi_extra=body_schema(UpdateEmailRequest, "the new time"),
        summary="Move a scheduled email",
    )
    async def reschedule(incoming: Incoming, email_id: str) -> Response:
        """409 `not_scheduled` once dispatch has begun. To a time that has passed: it leaves now."""
        principal = await access.authenticate(incoming)
        change = await body(incoming, decode_update)
        moved = await emails.reschedule(principal, email_id, change.scheduled_at)
        return json_response({"object": "email", "id": moved})

    @router.post("/{email_id}/cancel", summary="Cancel an email")
    async def cancel(incoming: Incoming, email_id: str) -> Response:
        """Canceling again has no effect; 409 `not_scheduled` when it has been handed over."""
        principal = await access.authenticate(incoming)
        return json_response({"object": "email", "id": await emails.cancel(principal, email_id)})

    @router.post("/{email_id}/release", summary="Release an email that is held for review")
    async def release(incoming: Incoming, email_id: str) -> Response:
        principal = await access.authenticate(incoming)
        released = await emails.release(principal, email_id)
        return json_response({"object": "email", "id": email_id, "released": released})
