"""The gRPC door: the same validator, the same group commit, other words."""

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from contracts.ingest.v1 import email_service_pb2 as pb
from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from contracts.ingest.v1.email_service_pb2_grpc import (
    EmailServiceServicer,
    add_EmailServiceServicer_to_server,
)
from kernel import auth, clock, times
from kernel.crypto import sha256
from kernel.errors import BadSetting
from kernel.telemetry import traceparent_of
from services.ingest.api.acceptance import Acceptance, Idempotency, Prepared
from services.ingest.api.emails import Emails
from services.ingest.api.gate import Caller, Gate, within
from services.ingest.api.grpc_views import shown, shown_logged
from services.ingest.api.http import check_size
from services.ingest.api.resource import Page, iso
from services.ingest.api.sending import collect
from services.ingest.domain.draft import Draft, draft
from services.ingest.domain.email import Attachment, Email
from services.ingest.domain.pointers import problem_of
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.reserved import Allowed

MESSAGE_BYTES_MAX = 50 * 1024 * 1024
GRACE_S = 5.0
CODES = {
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    409: code_pb2.FAILED_PRECONDITION,
    429: code_pb2.RESOURCE_EXHAUSTED,
    500: code_pb2.INTERNAL,
    503: code_pb2.UNAVAILABLE,
}
NAMED = {
    "restricted_api_key": code_pb2.PERMISSION_DENIED,
    "concurrent_idempotent_requests": code_pb2.ABORTED,
}

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
S = TypeVar("S")
R = TypeVar("R", bound=Message)


def answering(
    method: Callable[[S, Any, Any], Awaitable[R]],
) -> Callable[[S, Any, Any], Awaitable[R]]:
    """A Problem becomes the status of the call."""

    @wraps(method)
    async def wrapped(self: S, request: Any, context: Context) -> R:  # noqa: ANN401 - any of them
        try:
            return await method(self, request, context)
        except Problem as problem:
            await context.abort_with_status(rpc_status.to_status(status_of(problem)))
            raise

    return wrapped


class EmailService(EmailServiceServicer):
    """contracts.ingest.v1.EmailService."""

    def __init__(
        self, gate: Gate, acceptance: Acceptance, emails: Emails, *, reserved_allowed: Allowed
    ) -> None:
        self._gate = gate
        self._acceptance = acceptance
        self._emails = emails
        self._reserved_allowed = reserved_allowed

    @answering
    async def SendEmail(  # noqa: N802 - the contract's name
        self, request: pb.SendEmailRequest, context: Context
    ) -> pb.SendEmailResponse:
        caller = await self._admit(context, auth.SENDING_ACCESS)
        answer = await self._acceptance.accept(
            caller,
            [self._read(request.email, caller)],
            respond=_respond_one,
            traceparent=traceparent_of(_said(context, "traceparent")),
            idempotency=_idempotency("grpc SendEmail", request),
        )
        said = pb.SendEmailResponse.FromString(answer.response)
        said.idempotent_replayed = answer.replayed
        return said

    @answering
    async def SendEmailBatch(  # noqa: N802 - the contract's name
        self, request: pb.SendEmailBatchRequest, context: Context
    ) -> pb.SendEmailBatchResponse:
        caller = await self._admit(context, auth.SENDING_ACCESS)
        valid, faults = collect(
            len(request.emails),
            lambda at: self._read(request.emails[at], caller),
            request.permissive,
        )
        if not valid:
            raise invalid(faults)
        answer = await self._acceptance.accept(
            caller,
            valid,
            respond=lambda emails: _respond_batch(emails, faults),
            traceparent=traceparent_of(_said(context, "traceparent")),
            idempotency=_idempotency("grpc SendEmailBatch", request),
        )
        said = pb.SendEmailBatchResponse.FromString(answer.response)
        said.idempotent_replayed = answer.replayed
        return said

    @answering
    async def GetEmail(  # noqa: N802 - the contract's name
        self, request: pb.GetEmailRequest, context: Context
    ) -> pb.GetEmailResponse:
        caller = await self._admit(context)
        return pb.GetEmailResponse(email=shown(await self._emails.get(caller, request.id)))

    @answering
    async def ListEmails(  # noqa: N802 - the contract's name
        self, request: pb.ListEmailsRequest, context: Context
    ) -> pb.ListEmailsResponse:
        caller = await self._admit(context)
        size = min(request.page_size or 20, 100)
        page = Page(size, request.page_token, "")
        found, has_more = await self._emails.search(
            caller, page, status=request.status, to=request.to
        )
        token = found[-1].id if has_more and found else ""
        return pb.ListEmailsResponse(emails=map(shown_logged, found), next_page_token=token)

    @answering
    async def UpdateEmail(  # noqa: N802 - the contract's name
        self, request: pb.UpdateEmailRequest, context: Context
    ) -> pb.UpdateEmailResponse:
        caller = await self._admit(context)
        if not request.HasField("scheduled_at"):  # read as a time it would mean now
            detail = "the field scheduled_at is missing"
            raise invalid([Fault("#/scheduled_at", "missing_required_field", detail)])
        moved = await self._emails.reschedule(caller, request.id, _time(request.scheduled_at))
        return pb.UpdateEmailResponse(id=moved)

    @answering
    async def CancelEmail(  # noqa: N802 - the contract's name
        self, request: pb.CancelEmailRequest, context: Context
    ) -> pb.CancelEmailResponse:
        caller = await self._admit(context)
        return pb.CancelEmailResponse(id=await self._emails.cancel(caller, request.id))

    async def _admit(self, context: Context, scope: str = auth.FULL_ACCESS) -> Caller:
        kind, _, address = unquote(context.peer()).partition(":")
        client = address.rpartition(":")[0].strip("[]") if kind.startswith("ip") else ""
        caller, quota = await self._gate.admit(_said(context, "authorization"), client, scope=scope)
        within(quota)
        return caller

    def _read(self, email: pb.Email, caller: Caller) -> Draft:
        check_size(email.ByteSize())
        test = caller.test
        return draft(email_of(email), clock.now(), test=test, allowed=self._reserved_allowed)


class GrpcServer:
    """listen: host:port; port 0 takes any that is free, see `port`."""

    def __init__(self, service: EmailService, listen: str) -> None:
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        add_EmailServiceServicer_to_server(service, self._server)
        try:
            self.port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise BadSetting(f"{listen}: cannot listen there; is the port taken?") from error

    async def run(self) -> None:
        """A loop: serve until cancelled."""
        await self._server.start()
        try:
            await self._server.wait_for_termination()
        finally:
            await self._server.stop(GRACE_S)


def _said(context: Context, name: str) -> str:
    """A field of the metadata; empty when it is not there."""
    return str(dict(context.invocation_metadata() or ()).get(name, ""))


def email_of(email: pb.Email) -> Email:
    """In the words of the REST API, under the same rules. Raises Problem."""
    given = {
        "from": getattr(email, "from"),
        "to": list(email.to),
        "cc": list(email.cc),
        "bcc": list(email.bcc),
        "reply_to": list(email.reply_to),
        "subject": email.subject,
        "html": email.html or None,
        "text": email.text or None,
        "headers": dict(email.headers),
        "tags": [{"name": name, "value": value} for name, value in email.tags.items()],
        "metadata": dict(email.metadata),
        "scheduled_at": _time(email.scheduled_at) if email.HasField("scheduled_at") else None,
        "stream": email.stream or None,
    }
    try:
        converted = msgspec.convert(given, Email)
        converted.attachments = [_attachment(one) for one in email.attachments]
    except msgspec.ValidationError as error:
        raise problem_of(error) from None
    return converted


def _attachment(one: StoredAttachment) -> Attachment:
    given = {"filename": one.filename, "content": ""}
    if one.content_type:
        given["content_type"] = one.content_type
    if one.content_id:
        given["content_id"] = one.content_id
    converted = msgspec.convert(given, Attachment)
    converted.content = one.content  # type: ignore[assignment]  # octets, not their base64
    return converted


def _time(stamp: Timestamp) -> str:
    try:
        return iso(times.of(stamp))
    except ValueError as error:
        detail = f"scheduled_at: {error}"
        raise invalid([Fault("#/scheduled_at", "invalid_time", detail)]) from None


def _idempotency(
    route: str, request: pb.SendEmailRequest | pb.SendEmailBatchRequest
) -> Idempotency | None:
    key = request.idempotency_key
    if not key:
        return None
    if len(key) > 256 or not key.isascii() or not key.isprintable():
        detail = "an idempotency_key has 1 to 256 printable ASCII characters"
        raise Problem(400, "invalid_idempotency_key", detail=detail)
    return Idempotency(key, route, sha256(request.SerializeToString(deterministic=True)))


def _respond_one(emails: Sequence[Prepared]) -> bytes:
    [email] = emails
    status = "scheduled" if email.scheduled_at else "queued"
    return pb.SendEmailResponse(id=email.email_id, status=status).SerializeToString()


def _respond_batch(emails: Sequence[Prepared], faults: Sequence[Fault]) -> bytes:
    errors = [
        pb.BatchError(index=int(fault.pointer.split("/")[1]), message=fault.detail)
        for fault in faults
    ]
    ids = [email.email_id for email in emails]
    return pb.SendEmailBatchResponse(ids=ids, errors=errors).SerializeToString()


def status_of(problem: Problem) -> status_pb2.Status:
    """With google.rpc details: what is wrong where, and when to try again."""
    code = NAMED.get(problem.name) or CODES.get(problem.status, code_pb2.INVALID_ARGUMENT)
    status = status_pb2.Status(code=code, message=problem.detail)
    info = error_details_pb2.ErrorInfo(reason=problem.name, domain="obm")
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
