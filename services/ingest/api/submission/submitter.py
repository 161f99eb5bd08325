"""One SMTP client: who it is, what it may send, and the acceptance of its messages."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kernel import auth, clock, metrics
from kernel.crypto import sha256
from kernel.telemetry import new_traceparent
from mail.address import Mailbox, ascii_domain, canonical
from mail.smtp_server_events import Event, Login, MessageReceived, RecipientGiven, SenderGiven
from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import AccessControl, Principal, raise_if_rate_limited
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import SENDING
from services.ingest.api.idempotency import KeyedRequest
from services.ingest.api.sending import in_thread_if_large, respond_one
from services.ingest.api.submission import replies
from services.ingest.domain.body_memory import BodyReservation
from services.ingest.domain.login_throttle import LoginAttempt, LoginThrottle
from services.ingest.domain.mailbox import may_send_as
from services.ingest.domain.problem import Problem
from services.ingest.domain.raw_email import ParsedEmail, parse_raw_email
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.valid_email import reserved_faults

ROUTE = "SMTP"  # of idempotency keys
# Replies to right passwords that do not log in.
KNOWN = {
    "mailbox_paused": replies.MAILBOX_PAUSED,
    "missing_required_field": replies.TENANT_MISSING,
    "not_found": replies.TENANT_MISSING,
}

observe = metrics.accept_duration.labels("smtp").observe
count_failure = metrics.accept_failures.labels("smtp").inc
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SubmissionDependencies:
    """recipient_domains: those that accept no live mail. brands: of accounts."""

    access: AccessControl
    acceptance: Acceptance
    throttle: LoginThrottle
    recipient_domains: SpecialUseDomains
    brands: BrandResolver


class SubmissionResponder:
    """client: its IP address."""

    def __init__(self, dependencies: SubmissionDependencies, client: str) -> None:
        self._deps = dependencies
        self._client = client
        self._login = Login("", "")
        self._principal: Principal | None = None
        self._reservation: BodyReservation | None = None

    @property
    def hostname(self) -> str:
        """The server's name for the account that has logged in; empty if it names no brand."""
        if self._principal is None:
            return ""
        return self._deps.brands.smtp_host_of(self._principal.tenant.account_id)

    def respond_now(self, event: Event) -> str:
        """The reply to an event that needs only what is in memory; empty if it needs `respond`."""
        try:
            if isinstance(event, SenderGiven):
                return self._check_sender(event)
            if isinstance(event, RecipientGiven):
                return self._check_recipient(event.mailbox)
        except Problem as problem:
            return replies.reply_of(problem)
        except Exception:
            logger.exception("submission.failed")
            return replies.INTERNAL_ERROR
        return ""

    async def respond(self, event: Event) -> str:
        """The reply to an event of the session."""
        try:
            if isinstance(event, Login):
                return await self._log_in(event)
            if isinstance(event, MessageReceived):
                return await self._measure(event)
            if isinstance(event, SenderGiven):
                await self._look_up_domain(event)
                return replies.SENDER_OK
        except Problem as problem:
            return replies.reply_of(problem)
        except Exception:
            logger.exception("submission.failed")
        return replies.INTERNAL_ERROR

    def reserve(self, octets: int) -> str:
        """Reserve memory for the message that is arriving. The refusal if there is not enough."""
        if self._reservation is None and self._principal is not None:
            self._reservation = self._deps.access.bodies.reserve(self._principal.tenant_id)
        try:
            if self._reservation is not None:
                self._reservation.resize(octets)
        except Problem as problem:
            return replies.reply_of(problem).replace("421", "452", 1)
        return ""

    def close(self) -> None:
        if self._reservation is not None:
            self._reservation.close()

    async def _log_in(self, login: Login) -> str:
        throttle = self._deps.throttle
        attempt = LoginAttempt(self._client, login.username, sha256(login.password))
        if wait_s := throttle.begin(attempt, clock.monotonic_s()):
            return replies.too_many_logins(wait_s)
        try:
            self._principal = await self._authenticate(login)
        except Problem as problem:
            if problem.status in {429, 503}:  # says nothing about the password
                throttle.succeed(attempt, clock.monotonic_s())
                return replies.LOGIN_UNAVAILABLE
            if reply := KNOWN.get(problem.name):  # only who knows the password learns it
                throttle.succeed(attempt, clock.monotonic_s())
                return reply
            throttle.fail(attempt)
            logger.warning("submission.login_failed", extra={"client": self._client})
            return replies.LOGIN_FAILED
        throttle.succeed(attempt, clock.monotonic_s())
        self._login = login
        return replies.LOGGED_IN

    async def _authenticate(self, login: Login) -> Principal:
        """The API key that is the password, or the mailbox. Raises Problem."""
        access = self._deps.access
        if auth.is_api_key(login.password):
            principal, rate_limit = await access.authenticate(
                f"Bearer {login.password}", self._client,
                rule=SENDING, named_tenant=lambda: login.username, by_external_id=True,
            )  # fmt: skip
        else:
            principal, rate_limit = await access.authenticate_mailbox(*login)
        raise_if_rate_limited(rate_limit)
        return principal._replace(interface="smtp")

    def _check_sender(self, event: SenderGiven) -> str:
        """Empty if its domain must be looked up."""
        principal = self._logged_in()
        self._deps.acceptance.check_may_accept(principal)
        if event.mailbox is None:
            return replies.SENDER_OK
        check_sender(principal, event.mailbox, "MAIL FROM")
        name = ascii_domain(event.mailbox)
        known = self._deps.access.cached_sending_domain_of(principal, name, test=principal.test)
        return replies.SENDER_OK if known else ""

    async def _look_up_domain(self, event: SenderGiven) -> None:
        """Raises Problem."""
        principal = self._logged_in()
        if event.mailbox is not None:
            name = ascii_domain(event.mailbox)
            await self._deps.access.sending_domain_of(principal, name, test=principal.test)

    def _check_recipient(self, mailbox: Mailbox) -> str:
        if not self._logged_in().test:
            named = {"RCPT": [canonical(mailbox)]}
            for fault in reserved_faults(named, self._deps.recipient_domains):
                return f"550 5.1.2 {fault.detail}"
        return replies.RECIPIENT_OK

    async def _measure(self, event: MessageReceived) -> str:
        """Accept a message, or count why not."""
        began_s = clock.monotonic_s()
        try:
            return await self._accept(event)
        except Exception as error:
            if not isinstance(error, Problem) or error.status >= 500:
                count_failure()
            raise
        finally:
            observe(clock.monotonic_s() - began_s)

    async def _accept(self, event: MessageReceived) -> str:
        # Again for each message, so that a key that was revoked meanwhile is refused.
        principal = self._principal = await self._authenticate(self._login)
        content = event.content
        email = await in_thread_if_large(
            content, lambda: parse_raw_email(content, event.recipients, test=principal.test)
        )
        check_sender(principal, email.valid.sender, "From")
        if email.valid.on_behalf is not None:
            check_sender(principal, email.valid.on_behalf, "Sender")
        result = await self._deps.acceptance.accept(
            principal,
            [email.valid],
            respond=respond_one,
            traceparent=new_traceparent(),
            idempotency=_idempotency(email, event.recipients),
        )
        return f"250 2.0.0 Queued as {result.response[7:43].decode()}"  # {"id":"…

    def _logged_in(self) -> Principal:
        if self._principal is None:
            raise Problem(401, "missing_api_key", detail="Authentication required.")
        return self._principal


def check_sender(principal: Principal, sender: Mailbox, what: str) -> None:
    """Raises Problem if a mailbox may not send from an address. what: where it is named."""
    mailbox = principal.mailbox
    if mailbox is None or may_send_as(mailbox, sender):
        return
    allowed = mailbox.address
    if mailbox.any_address:
        allowed = f"addresses at {allowed.rpartition('@')[2]}"
    detail = f"{what}: this mailbox sends from {allowed} only"
    raise Problem(403, "invalid_from_address", detail=detail)


def _idempotency(email: ParsedEmail, recipients: Sequence[Mailbox]) -> KeyedRequest | None:
    if email.idempotency_key is None:
        return None
    envelope = "\n".join(sorted(one.address for one in recipients)).encode()
    fingerprint = sha256(envelope + b"\0" + email.valid.content.raw)
    return KeyedRequest(email.idempotency_key, ROUTE, fingerprint)
