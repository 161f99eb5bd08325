"""/v1/emails: batch, list, get, timeline, reschedule, cancel, release."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from kernel import auth
from services.ingest.api import views
from services.ingest.api.emails import Emails
from services.ingest.api.resource import (
    PROBLEMS,
    Admission,
    Page,
    body,
    listed,
    onward,
    page,
    request_of,
    said,
    shape,
    timestamp,
)
from services.ingest.api.sending import Sending
from services.ingest.domain.email import Change, Email, decode_change

Filter = Annotated[str, Query(max_length=400)]
SENT = {202: {"description": "durable"}, **PROBLEMS}


def routes(admission: Admission, sending: Sending, emails: Emails) -> APIRouter:
    router = APIRouter(prefix="/v1/emails", tags=["emails"], responses=PROBLEMS)
    _add_sending(router, admission, sending)
    _add_reading(router, admission, emails)
    _add_changing(router, admission, emails)
    return router


def _add_sending(router: APIRouter, admission: Admission, sending: Sending) -> None:
    @router.post(
        "", status_code=202, openapi_extra=shape(Email, "an email"), summary="Send an email"
    )
    async def send(incoming: Incoming) -> Response:
        """202 when it is durable. With `scheduled_at` it leaves then, 30 days ahead at most; at
        once when that has passed."""
        caller = await admission.caller(incoming, auth.SENDING_ACCESS)
        request = request_of(incoming)
        content, fields = await sending.send_one(request, caller, incoming.receive)
        return Response(content, 202, {k.decode(): v.decode() for k, v in fields})

    @router.post(
        "/batch",
        status_code=202,
        openapi_extra=shape(list[Email], "up to 500 emails"),
        summary="Send many emails",
    )
    async def send_batch(incoming: Incoming) -> Response:
        """All or none; with `x-batch-validation: permissive` those that are valid."""
        caller = await admission.caller(incoming, auth.SENDING_ACCESS)
        request = request_of(incoming)
        content, fields = await sending.send_batch(request, caller, incoming.receive)
        return Response(content, 202, {k.decode(): v.decode() for k, v in fields})


def _add_reading(router: APIRouter, admission: Admission, emails: Emails) -> None:
    @router.get("", summary="List emails")
    async def list_emails(  # noqa: PLR0913 - the filters that there are
        incoming: Incoming,
        *,
        which: Annotated[Page, Depends(page)],
        status: Filter = "",
        to: Filter = "",
        tag: Filter = "",
        domain: Filter = "",
        since: Filter = "",
        until: Filter = "",
    ) -> Response:
        """Newest first. tag: name or name:value. domain: of a recipient."""
        caller = await admission.caller(incoming)
        filters: dict[str, Any] = {"status": status, "to": to, "tag": tag, "domain": domain}
        times = {"since": timestamp(since, "since"), "until": timestamp(until, "until")}
        found, has_more = await emails.search(caller, which, **filters, **times)
        return listed(map(views.shown_logged, found), has_more=has_more)

    @router.get("/{email_id}", summary="Where is it, and why does it wait?")
    async def get_email(incoming: Incoming, email_id: str) -> Response:
        """Our own row, with each recipient's state from the router when it answers."""
        caller = await admission.caller(incoming)
        known = await emails.get(caller, email_id)
        return said(views.shown(known, await emails.content(caller, known.email)))

    @router.get("/{email_id}/events", summary="Its timeline, with the receivers' replies")
    async def list_events(
        incoming: Incoming, email_id: str, *, which: Annotated[Page, Depends(onward)]
    ) -> Response:
        caller = await admission.caller(incoming)
        found, has_more = await emails.events(caller, email_id, which)
        return listed(map(views.shown_event, found), has_more=has_more)


def _add_changing(router: APIRouter, admission: Admission, emails: Emails) -> None:
    @router.patch(
        "/{email_id}", openapi_extra=shape(Change, "the new time"), summary="Move a scheduled email"
    )
    async def reschedule(incoming: Incoming, email_id: str) -> Response:
        """409 `not_scheduled` once dispatch has begun. To a time that has passed: it leaves now."""
        caller = await admission.caller(incoming)
        change = await body(incoming, decode_change)
        moved = await emails.reschedule(caller, email_id, change.scheduled_at)
        return said({"object": "email", "id": moved})

    @router.post("/{email_id}/cancel", summary="Cancel an email")
    async def cancel(incoming: Incoming, email_id: str) -> Response:
        """Once more is no error; 409 `not_scheduled` when it has been handed over."""
        caller = await admission.caller(incoming)
        return said({"object": "email", "id": await emails.cancel(caller, email_id)})

    @router.post("/{email_id}/release", summary="Release an email that is held for review")
    async def release(incoming: Incoming, email_id: str) -> Response:
        caller = await admission.caller(incoming)
        released = await emails.release(caller, email_id)
        return said({"object": "email", "id": email_id, "released": released})
