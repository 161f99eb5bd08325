"""Reads and changes of emails: /v1/emails except for POST."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from contracts.events.v1.events_service_pb2 import (
    ListEmailsRequest,
    ListEventsRequest,
    LoggedEmail,
    LoggedEvent,
)
from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.router_service_pb2 import (
    CancelRequest,
    GetStatesRequest,
    ListWaitingRequest,
    MessageState,
    RescheduleRequest,
)
from kernel import clock, times
from kernel.content import ContentStore
from kernel.crypto import SealBroken, unseal
from kernel.errors import Unavailable
from mail.body_parts import read_parts
from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.callers import Caller
from services.ingest.api.cancellation import CancellationPage, cancel_matching
from services.ingest.api.held import HeldMailResource, Verdict
from services.ingest.api.rest_base import PageRequest
from services.ingest.api.sending import in_thread_if_large
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.clients import STATES_DEADLINE_S, ServiceClients
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.problem import Fault, Problem, not_found, unavailable
from services.ingest.domain.schedule import AHEAD_MAX, InvalidTime, parse_time
from services.ingest.domain.status import CLICKED, OPENED, RecipientState, last_event
from services.ingest.domain.waiting_filter import WaitingFilter
from services.ingest.store.emails import AcceptedEmails, StoredEmail, StoredMessage

SCHEDULED_CONTENT = "scheduled/"
CANCELLATIONS_MAX = 4  # at a time, in each process


@dataclass(frozen=True, slots=True)
class EmailWithStates:
    """An email with the router's states of its messages and what the log has of it (empty if
    nothing). unavailable: services that did not respond."""

    email: StoredEmail
    states: dict[str, MessageState]
    logged: LoggedEmail
    unavailable: list[str]

    def state_of(self, one: StoredMessage) -> MessageState:
        """Empty if the router does not have the message or did not respond."""
        return self.states.get(one.message_id, MessageState())

    @property
    def last_event(self) -> str:
        found = [(one, self.state_of(one)) for one in self.email.messages]
        states = [
            RecipientState(state.state or one.closed_state, state.attempt_count)
            for one, state in found
        ]
        scheduled = self.email.scheduled_at is not None
        engagement = self.logged.engagement
        logged = [
            self.logged.last_event,
            *([OPENED] if engagement.opens else []),
            *([CLICKED] if engagement.clicks else []),
        ]
        return last_event(states, scheduled=scheduled, logged=logged)


class EmailResource:
    """Reads and changes emails for REST and gRPC."""

    def __init__(
        self,
        *,
        access: AccessControl,
        store: AcceptedEmails,
        content: ContentStore,
        clients: ServiceClients,
        lifetime: timedelta,
    ) -> None:
        self._access = access
        self._store = store
        self._content = content
        self._clients = clients
        self._lifetime = lifetime
        self._cancellations = TenantSlots(CANCELLATIONS_MAX, 1)

    async def principal_of(self, caller: Caller, email_id: str) -> Principal:
        """The caller with its tenant, or with that of an email of its account. Raises Problem."""
        if caller.tenant is not None:
            return Principal.of(caller, caller.tenant)
        identifier = parse_id(email_id, "the email")
        try:
            found = await self._store.tenant_of(caller.account_id, identifier)
        except Unavailable as error:
            raise unavailable() from error
        return await self._access.principal_of(caller, found, "the email")

    async def find(self, principal: Principal, email_id: str) -> StoredEmail:
        """Raises Problem 404, also for an email of another tenant, or a live one and a test key."""
        identifier = parse_id(email_id, "the email")
        try:
            found = await self._store.find(principal.tenant_id, identifier)
        except Unavailable as error:
            raise unavailable() from error
        if found is None or (principal.test and not found.first.context.test):
            raise not_found("the email")
        return found

    async def get(self, principal: Principal, email_id: str) -> EmailWithStates:
        """The email from ingest's own database, so that it is there right after the POST, with the
        router's states and what the log has of it if those services respond."""
        email = await self.find(principal, email_id)
        states, logged = await asyncio.gather(
            self._fetch_states(principal, email), self._fetch_logged(principal, email)
        )
        missing = [name for name, one in (("router", states), ("events", logged)) if one is None]
        return EmailWithStates(email, states or {}, logged or LoggedEmail(), missing)

    async def _fetch_states(
        self, principal: Principal, email: StoredEmail
    ) -> dict[str, MessageState] | None:
        request = GetStatesRequest(
            tenant_id=principal.tenant_id, message_ids=[one.message_id for one in email.messages]
        )
        router = self._clients.router
        try:
            response = await router.call(
                router.stub.GetStates, request, deadline_s=STATES_DEADLINE_S
            )
        except Problem:
            return None
        return {one.message_id: one for one in response.states}

    async def _fetch_logged(self, principal: Principal, email: StoredEmail) -> LoggedEmail | None:
        request = ListEmailsRequest(
            tenant_id=principal.tenant_id, id=email.first.context.email_id, limit=1
        )
        events = self._clients.events
        try:
            response = await events.call(
                events.stub.ListEmails, request, deadline_s=STATES_DEADLINE_S
            )
        except Problem:
            return None
        return response.emails[0] if response.emails else LoggedEmail()

    async def content(self, principal: Principal, email: StoredEmail) -> Content | None:
        """The content as accepted; None if it has expired or cannot be read now."""
        context = email.first.context
        try:
            [sealed] = await self._content.get_many([context.content_ref])
            if not isinstance(sealed, bytes):
                return None
            associated = f"{context.tenant_id}/{context.email_id}".encode()
            plain = unseal(self._access.content_key(principal), sealed, associated)
            return await in_thread_if_large(plain, lambda: _readable(plain))
        except (Unavailable, SealBroken):
            return None

    async def cancel(self, principal: Principal, email_id: str) -> str:
        """Cancel all messages whose delivery has not started. Raises Problem 409 if one has
        started."""
        email = await self.find(principal, email_id)
        contexts = [event.context for event in self._store.events(email)]
        router = self._clients.router
        request = CancelRequest(tenant_id=principal.tenant_id, contexts=contexts)
        response = await router.call(router.stub.Cancel, request, deadline_s=2.0)
        _raise_if_too_late(response.too_late_ids, email, "cancel")
        return email.first.context.email_id

    async def reschedule(self, principal: Principal, email_id: str, text: str) -> str:
        """Raises Problem 409 unless the email was scheduled: only then is its content retained long
        enough."""
        email = await self.find(principal, email_id)
        due_at = self._new_time(email, text)
        first = email.first
        first.context.due_at.CopyFrom(timestamp(due_at))
        first.context.expires_at.CopyFrom(timestamp(due_at + self._lifetime))
        contexts = [event.context for event in self._store.events(email)]
        router = self._clients.router
        request = RescheduleRequest(
            tenant_id=principal.tenant_id, contexts=contexts, due_at=timestamp(due_at)
        )
        response = await router.call(router.stub.Reschedule, request, deadline_s=2.0)
        _raise_if_too_late(response.too_late_ids, email, "reschedule")
        await self._store.reschedule(principal.tenant_id, first, due_at=due_at)
        return first.context.email_id

    def _new_time(self, email: StoredEmail, text: str) -> datetime:
        context = email.first.context
        if email.scheduled_at is None or not context.content_ref.startswith(SCHEDULED_CONTENT):
            raise Problem(409, "not_scheduled", detail="The email was not scheduled.")
        now = clock.now()
        try:
            due_at = parse_time(text, now) or now
            if due_at - AHEAD_MAX > times.clamp_timestamp(context.accepted_at):
                detail = (
                    f"scheduled_at is more than {AHEAD_MAX.days} days after the email was accepted."
                )
                raise InvalidTime(detail)
        except InvalidTime as error:
            fault = Fault("#/scheduled_at", "invalid_time", str(error))
            raise Problem(422, "validation_error", detail=str(error), faults=[fault]) from None
        return due_at

    async def cancel_waiting(
        self, principal: Principal, wanted: WaitingFilter, *, after: str, dry_run: bool
    ) -> CancellationPage:
        """Raises Problem 429 if the tenant cancels already: each call reads the rows of all."""
        mail = self.waiting_mail(principal)
        detail = "Messages are being canceled. Send one request after the other."
        with self._cancellations.slot(principal.tenant_id, detail):
            return await cancel_matching(mail, wanted, after=after, dry_run=dry_run)

    def waiting_mail(self, principal: Principal) -> "WaitingMessageClient":
        return WaitingMessageClient(principal.tenant_id, self._clients, self._store)

    async def review(
        self, principal: Principal, email_id: str, verdict: Verdict, *, reason: str
    ) -> list[str]:
        """Release or reject messages that are held for review. Raises Problem 409 if none is."""
        email = await self.find(principal, email_id)
        ids = [one.message_id for one in email.messages]
        held = HeldMailResource(self._clients)
        done = await held.review_ids(principal.caller, ids, verdict=verdict, reason=reason)
        if not done.reviewed:
            raise Problem(409, "not_held", detail="The email is not held for review.")
        return list(done.reviewed)

    async def search(
        self,
        caller: Caller,
        page: PageRequest,
        **filters: Any,  # noqa: ANN401 - a protobuf's
    ) -> tuple[list[LoggedEmail], bool]:
        """Of a tenant, or of all tenants of an account. filters: fields of ListEmailsRequest of
        events. Raises Problem."""
        events = self._clients.events
        request = ListEmailsRequest(
            **caller.owner._asdict(), test_only=caller.test,
            limit=page.limit, after=page.after, before=page.before, **filters,
        )  # fmt: skip
        response = await events.call(events.stub.ListEmails, request)
        return list(response.emails), response.has_more

    async def events(
        self, principal: Principal, email_id: str, page: PageRequest
    ) -> tuple[list[LoggedEvent], bool]:
        email = await self.find(principal, email_id)
        events = self._clients.events
        request = ListEventsRequest(
            tenant_id=principal.tenant_id,
            email_id=email.first.context.email_id,
            limit=page.limit, after=page.after,
        )  # fmt: skip
        response = await events.call(events.stub.ListEvents, request)
        return list(response.events), response.has_more


def _readable(plain: bytes) -> Content:
    content = Content.FromString(plain)
    if content.raw:
        found = read_parts(content.raw)
        content.text, content.html = found.text, found.html
    return content


def _raise_if_too_late(too_late: Any, email: StoredEmail, action: str) -> None:  # noqa: ANN401 - a protobuf list of ids
    if not too_late:
        return
    late = set(too_late)
    names = ", ".join(one.recipient.address for one in email.messages if one.message_id in late)
    detail = f"Cannot {action}: delivery has started for {names}."
    raise Problem(409, "not_scheduled", detail=detail)


@dataclass(frozen=True, slots=True)
class WaitingMessageClient:
    """The waiting messages of a tenant, which the router has, with the tags, which ingest has."""

    tenant_id: str
    clients: ServiceClients
    store: AcceptedEmails

    async def read_page(self, after: str) -> tuple[Sequence[tuple[MessageContext, str]], str]:
        router = self.clients.router
        request = ListWaitingRequest(tenant_id=self.tenant_id, after=after)
        response = await router.call(router.stub.ListWaiting, request)
        return [(one.context, one.site) for one in response.messages], response.next

    async def cancel(self, contexts: Sequence[MessageContext]) -> int:
        router = self.clients.router
        request = CancelRequest(tenant_id=self.tenant_id, contexts=contexts)
        response = await router.call(router.stub.Cancel, request)
        return len(response.canceled_ids)

    async def tags_of(self, email_ids: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        try:
            return await self.store.tags_of(self.tenant_id, email_ids)
        except Unavailable as error:
            raise unavailable() from error
