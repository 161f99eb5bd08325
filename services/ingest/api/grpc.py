"""The gRPC API, with the validation and the group commit of the REST API."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial, wraps
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from contracts.ingest.v1 import email_service_pb2 as pb
from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceServicer
from kernel import clock, times
from kernel.brand import Brand
from kernel.crypto import sha256
from kernel.ids import canonical_uuid
from kernel.telemetry import traceparent_of
from services.ingest.api.acceptance import Acceptance, SealedEmail
from services.ingest.api.access import AccessControl, Principal, enforce_rate_limit
from services.ingest.api.callers import OF_TENANT, SENDING, AccessRule
from services.ingest.api.emails import EmailService
from services.ingest.api.grpc_server import Context, TrustedProxies, metadata_value, read_message
from services.ingest.api.grpc_views import logged_email_to_proto, to_proto
from services.ingest.api.http import check_size
from services.ingest.api.http_app import application_error
from services.ingest.api.idempotency import Idempotency
from services.ingest.api.rest_base import PageRequest, format_time
from services.ingest.api.sending import check_senders, index_of, validate_batch
from services.ingest.domain.email import Attachment, SendEmailRequest
from services.ingest.domain.pointers import problem_of
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.reserved import RecipientDomains
from services.ingest.domain.valid_email import ATTACHMENTS_MAX, ValidEmail, validate

CODES = {
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    408: code_pb2.DEADLINE_EXCEEDED,
    409: code_pb2.FAILED_PRECONDITION,
    429: code_pb2.RESOURCE_EXHAUSTED,
    500: code_pb2.INTERNAL,
    503: code_pb2.UNAVAILABLE,
}
CODES_BY_NAME = {
    "restricted_api_key": code_pb2.PERMISSION_DENIED,
    "concurrent_idempotent_requests": code_pb2.ABORTED,
}

logger = logging.getLogger(__name__)

S = TypeVar("S", bound="EmailServicer")
R = TypeVar("R", bound=Message)


def authenticated(
    rule: AccessRule,
) -> Callable[
    [Callable[[S, Any, Principal, Context], Awaitable[R]]],
    Callable[[S, Any, Context], Awaitable[R]],
]:
    """Authenticate before the message is read. A Problem becomes the status of the call."""

    def decorate(
        method: Callable[[S, Any, Principal, Context], Awaitable[R]],
    ) -> Callable[[S, Any, Context], Awaitable[R]]:
        @wraps(method)
        async def wrapped(self: S, _: object, context: Context) -> R:
            try:
                principal = await self.authenticate(context, rule)
                with closing(self.bodies.reserve(principal.tenant_id)) as reservation:
                    return await method(
                        self, await read_message(context, reservation), principal, context
                    )
            except Problem as problem:
                refusal = problem
            except Exception:
                logger.exception("request.failed")
                refusal = application_error()
            status = status_of(refusal, domain=self.brand.slug)
            await context.abort_with_status(rpc_status.to_status(status))
            raise refusal

        return wrapped

    return decorate


class EmailServicer(EmailServiceServicer):
    """contracts.ingest.v1.EmailService."""

    def __init__(
        self,
        access: AccessControl,
        acceptance: Acceptance,
        emails: EmailService,
        *,
        recipient_domains: RecipientDomains,
        proxies: TrustedProxies,
        brand: Brand,
    ) -> None:
        self.brand = brand
        self._access = access
        self.bodies = access.bodies
        self._acceptance = acceptance
        self._emails = emails
        self._recipient_domains = recipient_domains
        self._proxies = proxies

    async def authenticate(self, context: Context, rule: AccessRule) -> Principal:
        """Raises Problem."""
        client = self._proxies.client_of(context)
        principal, rate_limit = await self._access.authenticate(
            metadata_value(context, "authorization"),
            client,
            rule=rule,
            named_tenant=partial(metadata_value, context, "x-tenant-id"),
        )
        enforce_rate_limit(rate_limit)
        return principal

    @authenticated(SENDING)
    async def SendEmail(  # noqa: N802 - the contract's name
        self, request: pb.SendEmailRequest, principal: Principal, context: Context
    ) -> pb.SendEmailResponse:
        result = await self._acceptance.accept(
            principal,
            [self._read(request.email, principal)],
            respond=_respond_one,
            traceparent=traceparent_of(metadata_value(context, "traceparent")),
            idempotency=_idempotency("grpc SendEmail", request),
        )
        response = pb.SendEmailResponse.FromString(result.response)
        response.idempotent_replayed = result.replayed
        return response

    @authenticated(SENDING)
    async def SendEmailBatch(  # noqa: N802 - the contract's name
        self, request: pb.SendEmailBatchRequest, principal: Principal, context: Context
    ) -> pb.SendEmailBatchResponse:
        valid, faults = validate_batch(
            len(request.emails),
            lambda at: self._read(request.emails[at], principal),
            request.permissive,
        )
        if not valid:
            raise invalid(faults)
        valid, faults = await check_senders(
            self._access, principal, valid, faults=faults, permissive=request.permissive
        )
        result = await self._acceptance.accept(
            principal,
            valid,
            respond=lambda emails: _respond_batch(emails, faults),
            traceparent=traceparent_of(metadata_value(context, "traceparent")),
            idempotency=_idempotency("grpc SendEmailBatch", request),
        )
        response = pb.SendEmailBatchResponse.FromString(result.response)
        response.idempotent_replayed = result.replayed
        return response

    @authenticated(OF_TENANT)
    async def GetEmail(  # noqa: N802 - the contract's name
        self, request: pb.GetEmailRequest, principal: Principal, context: Context
    ) -> pb.GetEmailResponse:
        return pb.GetEmailResponse(email=to_proto(await self._emails.get(principal, request.id)))

    @authenticated(OF_TENANT)
    async def ListEmails(  # noqa: N802 - the contract's name
        self, request: pb.ListEmailsRequest, principal: Principal, context: Context
    ) -> pb.ListEmailsResponse:
        size = min(request.page_size or 20, 100)
        page = PageRequest(size, _cursor(request.page_token), "")
        found, has_more = await self._emails.search(
            principal, page, status=request.status, to=request.to
        )
        token = found[-1].id if has_more and found else ""
        return pb.ListEmailsResponse(
            emails=map(logged_email_to_proto, found), next_page_token=token
        )

    @authenticated(OF_TENANT)
    async def UpdateEmail(  # noqa: N802 - the contract's name
        self, request: pb.UpdateEmailRequest, principal: Principal, context: Context
    ) -> pb.UpdateEmailResponse:
        # an unset timestamp would be read as a time in the past
        if not request.HasField("scheduled_at"):
            detail = "The field scheduled_at is missing."
            raise invalid([Fault("#/scheduled_at", "missing_required_field", detail)])
        moved = await self._emails.reschedule(principal, request.id, _time(request.scheduled_at))
        return pb.UpdateEmailResponse(id=moved)

    @authenticated(OF_TENANT)
    async def CancelEmail(  # noqa: N802 - the contract's name
        self, request: pb.CancelEmailRequest, principal: Principal, context: Context
    ) -> pb.CancelEmailResponse:
        return pb.CancelEmailResponse(id=await self._emails.cancel(principal, request.id))

    def _read(self, email: pb.Email, principal: Principal) -> ValidEmail:
        check_size(email.ByteSize())
        test = principal.test
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
    }
    try:
        converted = msgspec.convert(given, SendEmailRequest)
        # one more than allowed, so that validation refuses it
        few = email.attachments[: ATTACHMENTS_MAX + 1]
        converted.attachments = [_attachment(one) for one in few]
    except msgspec.ValidationError as error:
        raise problem_of(error) from None
    return converted


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


def _cursor(token: str) -> str:
    """Raises Problem."""
    try:
        return canonical_uuid(token) if token else ""
    except ValueError:
        detail = "Invalid page_token. Use the next_page_token of a list."
        raise invalid([Fault("#/page_token", "invalid", detail)]) from None


def _idempotency(
    route: str, request: pb.SendEmailRequest | pb.SendEmailBatchRequest
) -> Idempotency | None:
    key = request.idempotency_key
    if not key:
        return None
    if len(key) > 256 or not key.isascii() or not key.isprintable():
        detail = "Invalid idempotency_key. Use 1 to 256 printable ASCII characters."
        raise Problem(400, "invalid_idempotency_key", detail=detail)
    return Idempotency(key, route, sha256(request.SerializeToString(deterministic=True)))


def _respond_one(emails: Sequence[SealedEmail]) -> bytes:
    [email] = emails
    status = "scheduled" if email.scheduled_at else "queued"
    return pb.SendEmailResponse(id=email.email_id, status=status).SerializeToString()


def _respond_batch(emails: Sequence[SealedEmail], faults: Sequence[Fault]) -> bytes:
    errors = [pb.BatchError(index=index_of(fault), message=fault.detail) for fault in faults]
    ids = [email.email_id for email in emails]
    return pb.SendEmailBatchResponse(ids=ids, errors=errors).SerializeToString()


def status_of(problem: Problem, *, domain: str) -> status_pb2.Status:
    """A status with google.rpc details: the faults, and when to retry. domain: of the ErrorInfo."""
    code = CODES_BY_NAME.get(problem.name) or CODES.get(problem.status, code_pb2.INVALID_ARGUMENT)
    status = status_pb2.Status(code=code, message=problem.detail)
    info = error_details_pb2.ErrorInfo(reason=problem.name, domain=domain)
    status.details.add().Pack(info)
    if problem.faults:
        bad = error_details_pb2.BadRequest()
        for fault in problem.faults:
            field = fault.pointer.lstrip("#/").replace("/", ".")
            bad.field_violations.add(field=field, description=fault.detail, reason=fault.code)
        status.details.add().Pack(bad)
    if problem.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = problem.retry_after_s
        status.details.add().Pack(retry)
    return status
