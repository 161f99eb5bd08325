"""contracts.ingest.v1.EmailService, with the validation and the group commit of REST."""

from collections.abc import Sequence

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1 import email_service_pb2 as pb
from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceServicer
from kernel import clock, times
from kernel.crypto import sha256
from kernel.telemetry import traceparent_or_new
from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import Principal
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
)
from services.ingest.api.grpc.email_events import EventQueryRpcs
from services.ingest.api.grpc.email_views import (
    event_to_proto,
    logged_email_to_proto,
    score_to_proto,
    to_proto,
)
from services.ingest.api.grpc.server import Context, metadata_value
from services.ingest.api.held import REJECTED, RELEASED, ReviewEmailRequest
from services.ingest.api.http import check_size
from services.ingest.api.idempotency import KeyedRequest
from services.ingest.api.resources import ApiResources
from services.ingest.api.rest_base import PageRequest, format_time
from services.ingest.api.sealed_email import SealedEmail
from services.ingest.api.senders import check_senders, index_of
from services.ingest.api.sending import validate_batch
from services.ingest.domain.email import Attachment, SendEmailRequest
from services.ingest.domain.pointers import problem_of
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.valid_email import ATTACHMENTS_MAX, ValidEmail, validate


class EmailServicer(EventQueryRpcs, EmailServiceServicer):  # type: ignore[misc]  # StreamEvents writes its responses
    def __init__(
        self,
        access: RpcAccess,
        resources: ApiResources,
        *,
        acceptance: Acceptance,
        recipient_domains: SpecialUseDomains,
    ) -> None:
        self.access = access
        self._acceptance = acceptance
        self._emails, self._scoring = resources.emails, resources.scoring
        self.email_events = resources.email_events
        self._recipient_domains = recipient_domains

    @authenticated
    async def SendEmail(
        self, request: pb.SendEmailRequest, principal: Principal, context: Context
    ) -> pb.SendEmailResponse:
        result = await self._acceptance.accept(
            principal,
            [self._read(request.email, test=principal.test)],
            respond=_respond_one,
            traceparent=traceparent_or_new(metadata_value(context, "traceparent")),
            idempotency=_idempotency("grpc SendEmail", request),
        )
        response = pb.SendEmailResponse.FromString(result.response)
        response.idempotent_replayed = result.replayed
        return response

    @authenticated
    async def SendEmailBatch(
        self, request: pb.SendEmailBatchRequest, principal: Principal, context: Context
    ) -> pb.SendEmailBatchResponse:
        valid, faults = validate_batch(
            len(request.emails),
            lambda at: self._read(request.emails[at], test=principal.test),
            request.permissive,
        )
        if not valid:
            raise invalid(faults)
        valid, faults = await check_senders(
            self._acceptance.senders, principal, valid, faults=faults, permissive=request.permissive
        )
        result = await self._acceptance.accept(
            principal,
            valid,
            respond=lambda emails: _respond_batch(emails, faults),
            traceparent=traceparent_or_new(metadata_value(context, "traceparent")),
            idempotency=_idempotency("grpc SendEmailBatch", request),
        )
        response = pb.SendEmailBatchResponse.FromString(result.response)
        response.idempotent_replayed = result.replayed
        return response

    @authenticated
    async def GetEmail(
        self, request: pb.GetEmailRequest, caller: Caller, context: Context
    ) -> pb.GetEmailResponse:
        principal = await self._emails.principal_of(caller, request.id)
        return pb.GetEmailResponse(email=to_proto(await self._emails.get(principal, request.id)))

    @authenticated
    async def ListEmails(
        self, request: pb.ListEmailsRequest, caller: Caller, context: Context
    ) -> pb.ListEmailsResponse:
        page = PageRequest(*page_of(request))
        bounds = {
            name: getattr(request, name) for name in ("since", "until") if request.HasField(name)
        }
        found, has_more = await self._emails.search(
            caller,
            page,
            status=request.status,
            to=request.to,
            tag=request.tag,
            domain=request.domain,
            **bounds,
        )
        token = next_page_token(found, has_more=has_more)
        return pb.ListEmailsResponse(
            emails=map(logged_email_to_proto, found), next_page_token=token
        )

    @authenticated
    async def UpdateEmail(
        self, request: pb.UpdateEmailRequest, caller: Caller, context: Context
    ) -> pb.UpdateEmailResponse:
        # an unset timestamp would be read as a time in the past
        if not request.HasField("scheduled_at"):
            detail = "The field scheduled_at is missing."
            raise invalid([Fault("#/scheduled_at", "missing_required_field", detail)])
        principal = await self._emails.principal_of(caller, request.id)
        moved = await self._emails.reschedule(principal, request.id, _time(request.scheduled_at))
        return pb.UpdateEmailResponse(id=moved)

    @authenticated
    async def CancelEmail(
        self, request: pb.CancelEmailRequest, caller: Caller, context: Context
    ) -> pb.CancelEmailResponse:
        principal = await self._emails.principal_of(caller, request.id)
        return pb.CancelEmailResponse(id=await self._emails.cancel(principal, request.id))

    @authenticated
    async def ReleaseEmail(
        self, request: pb.ReleaseEmailRequest, caller: Caller, context: Context
    ) -> pb.ReleaseEmailResponse:
        principal = await self._emails.principal_of(caller, request.id)
        reason = given_fields(request, ReviewEmailRequest).reason
        released = await self._emails.review(principal, request.id, RELEASED, reason=reason)
        return pb.ReleaseEmailResponse(id=request.id, released=released)

    @authenticated
    async def RejectEmail(
        self, request: pb.RejectEmailRequest, caller: Caller, context: Context
    ) -> pb.RejectEmailResponse:
        principal = await self._emails.principal_of(caller, request.id)
        reason = given_fields(request, ReviewEmailRequest).reason
        rejected = await self._emails.review(principal, request.id, REJECTED, reason=reason)
        return pb.RejectEmailResponse(id=request.id, rejected=rejected)

    @authenticated
    async def ListEmailEvents(
        self, request: pb.ListEmailEventsRequest, caller: Caller, context: Context
    ) -> pb.ListEmailEventsResponse:
        page = PageRequest(*page_of(request, are_ids=False))
        principal = await self._emails.principal_of(caller, request.id)
        found, has_more = await self._emails.events(principal, request.id, page)
        token = next_page_token(found, has_more=has_more)
        return pb.ListEmailEventsResponse(events=map(event_to_proto, found), next_page_token=token)

    @authenticated
    async def ScoreEmail(
        self, request: pb.ScoreEmailRequest, principal: Principal, context: Context
    ) -> pb.ScoreEmailResponse:
        email = self._read(request.email, test=True)
        return score_to_proto(await self._scoring.score(principal, email))

    def _read(self, email: pb.Email, *, test: bool) -> ValidEmail:
        check_size(email.ByteSize())
        return validate(email_of(email), clock.now(), test=test, domains=self._recipient_domains)


def email_of(email: pb.Email) -> SendEmailRequest:
    """Convert to the request of the REST API, so that the same rules apply. Raises Problem."""
    given = {
        "from": getattr(email, "from"),
        "to": list(email.to),
        "cc": list(email.cc),
        "bcc": list(email.bcc),
        "reply_to": list(email.reply_to),
        "subject": email.subject,
        "html": email.html or None,
        "text": email.text if email.HasField("text") else None,
        "headers": dict(email.headers),
        "tags": [{"name": name, "value": value} for name, value in email.tags.items()],
        "metadata": dict(email.metadata),
        "scheduled_at": _time(email.scheduled_at) if email.HasField("scheduled_at") else None,
        "stream": email.stream or None,
        "tls": email.tls or None,
        "track_opens": email.track_opens if email.HasField("track_opens") else None,
        "track_clicks": email.track_clicks if email.HasField("track_clicks") else None,
        "tracking_mode": email.tracking_mode or None,
        "list_unsubscribe": _list_unsubscribe(email),
        "list": email.list or None,
    }
    try:
        converted = msgspec.convert(given, SendEmailRequest)
        # one more than allowed, so that validation refuses it
        few = email.attachments[: ATTACHMENTS_MAX + 1]
        converted.attachments = [_attachment(one) for one in few]
    except msgspec.ValidationError as error:
        raise problem_of(error, kind=SendEmailRequest) from None
    return converted


def _list_unsubscribe(email: pb.Email) -> dict[str, object] | None:
    if not email.HasField("list_unsubscribe"):
        return None
    given = email.list_unsubscribe
    one_click = given.one_click if given.HasField("one_click") else True
    return {"url": given.url or None, "mailto": given.mailto or None, "one_click": one_click}


def _attachment(one: StoredAttachment) -> Attachment:
    given = {"filename": one.filename, "content": msgspec.Raw(b'""')}
    if one.content_type:
        given["content_type"] = one.content_type
    if one.content_id:
        given["content_id"] = one.content_id
    converted = msgspec.convert(given, Attachment)
    converted.content = one.content  # type: ignore[assignment]  # octets, not their base64
    return converted


def _time(stamp: Timestamp) -> str:
    try:
        return format_time(times.from_timestamp(stamp))
    except ValueError as error:
        detail = f"Invalid scheduled_at: {error}."
        raise invalid([Fault("#/scheduled_at", "invalid_time", detail)]) from None


def _idempotency(
    route: str, request: pb.SendEmailRequest | pb.SendEmailBatchRequest
) -> KeyedRequest | None:
    key = request.idempotency_key
    if not key:
        return None
    if len(key) > 256 or not key.isascii() or not key.isprintable():
        detail = "Invalid idempotency_key. Use 1 to 256 printable ASCII characters."
        raise Problem(400, "invalid_idempotency_key", detail=detail)
    return KeyedRequest(key, route, sha256(request.SerializeToString(deterministic=True)))


def _respond_one(emails: Sequence[SealedEmail]) -> bytes:
    [email] = emails
    status = "scheduled" if email.scheduled_at else "queued"
    return pb.SendEmailResponse(id=email.email_id, status=status).SerializeToString()


def _respond_batch(emails: Sequence[SealedEmail], faults: Sequence[Fault]) -> bytes:
    errors = [pb.BatchError(index=index_of(fault), message=fault.detail) for fault in faults]
    ids = [email.email_id for email in emails]
    return pb.SendEmailBatchResponse(ids=ids, errors=errors).SerializeToString()
