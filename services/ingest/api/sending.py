"""POST /v1/emails and /v1/emails/batch: decode, validate, accept, respond."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from kernel import clock
from kernel.crypto import sha256
from kernel.http_server import Receive
from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import Principal
from services.ingest.api.fetcher import AttachmentFetcher
from services.ingest.api.http import BATCH_BYTES_MAX, Request, check_size, read_body
from services.ingest.api.idempotency import AcceptResult, KeyedRequest
from services.ingest.api.responses import JSON, Headers, encode
from services.ingest.api.sealed_email import SealedEmail
from services.ingest.api.senders import batch_faults, check_senders, index_of
from services.ingest.domain.attachments import FetchPolicy
from services.ingest.domain.email import decode_batch, decode_email, decode_raw
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.raw_request import has_raw, validate_raw
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.valid_email import ValidEmail, validate

BATCH_MAX = 500
BATCH_MESSAGES_MAX = 10_000  # recipients of a batch, because they are one transaction
THREAD_BYTES = 512 * 1024  # decoding more than this would block the event loop
REPLAYED = (b"idempotent-replayed", b"true")

T = TypeVar("T")


class SendHandler:
    """recipient_domains: those that accept no live mail."""

    def __init__(
        self,
        acceptance: Acceptance,
        *,
        recipient_domains: SpecialUseDomains,
        fetcher: AttachmentFetcher,
    ) -> None:
        self._acceptance = acceptance
        self._recipient_domains = recipient_domains
        self.fetcher = fetcher

    async def send_one(
        self, request: Request, principal: Principal, receive: Receive
    ) -> tuple[bytes, Headers]:
        """Return the response's body and headers. Raises Problem."""
        request.check_json()
        key = request.idempotency_key
        body = await read_body(request, receive)
        fetch_policy = self.fetcher.fetch_policy
        valid = await in_thread_if_large(
            body, lambda: self.read_email(body, test=principal.test, fetch_policy=fetch_policy)
        )
        fetch = partial(self.fetcher.fetch_attachments, principal, valid, sent=len(body))
        result = await self._acceptance.accept(
            principal,
            [valid],
            respond=respond_one,
            traceparent=request.traceparent,
            idempotency=await in_thread_if_large(
                body, lambda: _idempotency(key, "POST /v1/emails", [body])
            ),
            before=fetch if valid.to_fetch else None,
        )
        location = b"/v1/emails/" + result.response[7:43]  # {"id":"…
        headers: Headers = [JSON, (b"location", location)]
        return result.response, [*headers, REPLAYED] if result.replayed else headers

    async def send_batch(
        self, request: Request, principal: Principal, receive: Receive
    ) -> tuple[bytes, Headers]:
        """All emails are accepted or none; with `x-batch-validation: permissive` all valid ones."""
        request.check_json()
        key = request.idempotency_key
        permissive = request.header(b"x-batch-validation").strip().lower() == "permissive"
        body = await read_body(request, receive, BATCH_BYTES_MAX)
        valid, errors = await in_thread_if_large(
            body, lambda: self.read_batch(body, test=principal.test, permissive=permissive)
        )
        route = "POST /v1/emails/batch" + (" permissive" if permissive else "")
        idempotency = await in_thread_if_large(
            body, lambda: _idempotency(key, route, decode_body(decode_batch, body))
        )
        result = await self.accept_batch(
            principal, valid, errors,
            request=request, idempotency=idempotency, permissive=permissive,
        )  # fmt: skip
        return result.response, [JSON, REPLAYED] if result.replayed else [JSON]

    async def accept_batch(
        self,
        principal: Principal,
        valid: Sequence[ValidEmail],
        errors: Sequence[Fault],
        *,
        request: Request,
        idempotency: KeyedRequest | None,
        permissive: bool,
    ) -> AcceptResult:
        if not valid:
            raise invalid(errors)
        own, errors = await check_senders(
            self._acceptance.senders, principal, valid, faults=errors, permissive=permissive
        )
        return await self._acceptance.accept(
            principal,
            own,
            respond=lambda emails: respond_batch(emails, errors),
            traceparent=request.traceparent,
            idempotency=idempotency,
        )

    def read_email(
        self, body: bytes, *, test: bool, fetch_policy: FetchPolicy | None = None
    ) -> ValidEmail:
        """Raises Problem."""
        fetch_policy = fetch_policy or self.fetcher.refused_policy
        check_size(len(body))
        domains = self._recipient_domains
        try:
            email = decode_body(decode_email, body)
        except Problem:
            if not has_raw(body):  # looked for only here, because most emails have parts
                raise
            raw = decode_body(decode_raw, body)
            return validate_raw(raw, clock.now(), test=test, domains=domains)
        return validate(email, clock.now(), test=test, domains=domains, fetch_policy=fetch_policy)

    def read_batch(
        self, body: bytes, *, test: bool, permissive: bool
    ) -> tuple[list[ValidEmail], list[Fault]]:
        """The valid emails, and the faults of the others. Raises Problem."""
        items = decode_body(decode_batch, body)
        return validate_batch(
            len(items), lambda index: self.read_email(bytes(items[index]), test=test), permissive
        )


def validate_batch(
    count: int, read: Callable[[int], ValidEmail], permissive: bool
) -> tuple[list[ValidEmail], list[Fault]]:
    """Raises Problem with all faults, unless permissive, which returns them. A batch with too many
    emails or recipients is refused as a whole."""
    if not 1 <= count <= BATCH_MAX:
        raise _too_many(f"A batch must have 1 to {BATCH_MAX} emails.")
    valid: list[ValidEmail] = []
    faults: list[Fault] = []
    for index in range(count):
        try:
            valid.append(read(index))
        except Problem as problem:
            faults += batch_faults(index, problem)
    if faults and not permissive:
        raise invalid(faults)
    if sum(len(one.recipients) for one in valid) > BATCH_MESSAGES_MAX:
        raise _too_many(f"The batch has more than {BATCH_MESSAGES_MAX} recipients. Split it.")
    return valid, faults


def respond_one(emails: Sequence[SealedEmail]) -> bytes:
    [email] = emails
    status = b"scheduled" if email.scheduled_at else b"queued"
    return b'{"id":"%b","object":"email","status":"%b"}' % (email.email_id.encode(), status)


def respond_batch(emails: Sequence[SealedEmail], errors: Sequence[Fault]) -> bytes:
    response: dict[str, object] = {"data": [{"id": email.email_id} for email in emails]}
    if errors:
        response["errors"] = [
            {"index": index_of(fault), "message": fault.detail} for fault in errors
        ]
    return encode(response)


def _idempotency(
    key: str | None, route: str, emails: Sequence[bytes | msgspec.Raw]
) -> KeyedRequest | None:
    return None if key is None else KeyedRequest(key, route, fingerprint(emails))


def fingerprint(emails: Sequence[bytes | msgspec.Raw]) -> bytes:
    """SHA-256 of a request, independent of field order and white space."""
    return sha256(b"\n".join(map(_normalized, emails)))


def _normalized(email: bytes | msgspec.Raw) -> bytes:
    """The decoded email with its attachments as they were sent. An invalid email of a batch is kept
    as its JSON."""
    body = bytes(email)
    try:
        found: object = decode_body(decode_email, body)
    except Problem:
        found = decode_body(msgspec.json.decode, body)
    return msgspec.json.encode(found, order="deterministic")


def _too_many(detail: str) -> Problem:
    return Problem(422, "validation_error", detail=detail, faults=[Fault("#", "too_many", detail)])


async def in_thread_if_large(body: bytes, work: Callable[[], T]) -> T:
    """Run the work in a thread if the body is large."""
    return work() if len(body) < THREAD_BYTES else await asyncio.to_thread(work)
