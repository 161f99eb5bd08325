"""/v1/emails, but for the hot POST."""

import asyncio
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
from contracts.router.v1.router_service_pb2 import (
    CancelRequest,
    GetStatesRequest,
    MessageState,
    ReleaseRequest,
    RescheduleRequest,
)
from kernel import clock, times
from kernel.content import ContentStore
from kernel.crypto import SealBroken, unseal
from kernel.errors import Unavailable
from services.ingest.api.gate import Caller, Gate
from services.ingest.api.resource import Page, known_id
from services.ingest.clients import STATES_DEADLINE_S, Others
from services.ingest.domain.event import timestamp
from services.ingest.domain.problem import Fault, Problem, not_found, unavailable
from services.ingest.domain.schedule import AHEAD_MAX, BadTime, when
from services.ingest.domain.status import State, last_event
from services.ingest.store.emails import EmailStore, KeptEmail, KeptMessage

SCHEDULED_CONTENT = "scheduled/"


@dataclass(frozen=True, slots=True)
class Known:
    """An email with what the router says of it, and the log's word for where it stands, empty when
    it has none. unavailable: who could not be asked."""

    email: KeptEmail
    states: dict[str, MessageState]
    logged: str
    unavailable: list[str]

    def state_of(self, one: KeptMessage) -> MessageState:
        """Empty when the router does not know it, or could not be asked."""
        return self.states.get(one.message_id, MessageState())

    @property
    def last_event(self) -> str:
        found = [(one, self.state_of(one)) for one in self.email.messages]
        states = [State(state.state or one.closed, state.tries) for one, state in found]
        scheduled = self.email.scheduled_at is not None
        return last_event(states, scheduled=scheduled, logged=self.logged)


class Emails:
    """Reads and changes of emails, behind REST and gRPC alike."""

    def __init__(
        self, *, gate: Gate, store: EmailStore, content: ContentStore, others: Others,
        lifetime: timedelta,
    ) -> None:  # fmt: skip
        self._gate = gate
        self._store = store
        self._content = content
        self._others = others
        self._lifetime = lifetime

    async def find(self, caller: Caller, email_id: str) -> KeptEmail:
        """Raises Problem: 404 also for another tenant's, and for live mail by a test key."""
        identifier = known_id(email_id, "the email")
        try:
            found = await self._store.find(caller.tenant_id, identifier)
        except Unavailable as error:
            raise unavailable(f"{error} is away") from error
        if found is None or (caller.test and not found.first.envelope.test):
            raise not_found("the email")
        return found

    async def get(self, caller: Caller, email_id: str) -> Known:
        """Our own row, so right after the POST too; with the router's states and the log's word
        when they answer."""
        email = await self.find(caller, email_id)
        states, word = await asyncio.gather(self._states(caller, email), self._word(caller, email))
        away = [name for name, one in (("router", states), ("events", word)) if one is None]
        return Known(email, states or {}, word or "", away)

    async def _states(self, caller: Caller, email: KeptEmail) -> dict[str, MessageState] | None:
        request = GetStatesRequest(
            tenant_id=caller.tenant_id, message_ids=[one.message_id for one in email.messages]
        )
        router = self._others.router
        try:
            answer = await router.ask(router.stub.GetStates, request, deadline_s=STATES_DEADLINE_S)
        except Problem:
            return None
        return {one.message_id: one for one in answer.states}

    async def _word(self, caller: Caller, email: KeptEmail) -> str | None:
        request = ListEmailsRequest(
            tenant_id=caller.tenant_id, id=email.first.envelope.email_id, limit=1
        )
        events = self._others.events
        try:
            answer = await events.ask(events.stub.ListEmails, request, deadline_s=STATES_DEADLINE_S)
        except Problem:
            return None
        return answer.emails[0].last_event if answer.emails else ""

    async def content(self, caller: Caller, email: KeptEmail) -> Content | None:
        """The body as it was accepted; None when it has expired or cannot be had now."""
        envelope = email.first.envelope
        try:
            [sealed] = await self._content.get_many([envelope.content_ref])
            if not isinstance(sealed, bytes):
                return None
            associated = f"{envelope.tenant_id}/{envelope.email_id}".encode()
            return Content.FromString(unseal(self._gate.content_key(caller), sealed, associated))
        except (Unavailable, SealBroken):
            return None

    async def cancel(self, caller: Caller, email_id: str) -> str:
        """All messages that have not been handed over. Raises Problem 409 when one has."""
        email = await self.find(caller, email_id)
        envelopes = [told.envelope for told in self._store.events(email)]
        router = self._others.router
        request = CancelRequest(tenant_id=caller.tenant_id, envelopes=envelopes)
        answer = await router.ask(router.stub.Cancel, request, deadline_s=2.0)
        _refuse_late(answer.too_late, email, "cancelled")
        return email.first.envelope.email_id

    async def reschedule(self, caller: Caller, email_id: str, text: str) -> str:
        """Only what was accepted as scheduled: its body is kept for long enough."""
        email = await self.find(caller, email_id)
        due_at = self._new_time(email, text)
        first = email.first
        first.envelope.due_at.CopyFrom(timestamp(due_at))
        first.envelope.expires_at.CopyFrom(timestamp(due_at + self._lifetime))
        envelopes = [told.envelope for told in self._store.events(email)]
        router = self._others.router
        request = RescheduleRequest(
            tenant_id=caller.tenant_id, envelopes=envelopes, due_at=timestamp(due_at)
        )
        answer = await router.ask(router.stub.Reschedule, request, deadline_s=2.0)
        _refuse_late(answer.too_late, email, "rescheduled")
        await self._store.reschedule(caller.tenant_id, first, due_at=due_at)
        return first.envelope.email_id

    def _new_time(self, email: KeptEmail, text: str) -> datetime:
        envelope = email.first.envelope
        if email.scheduled_at is None or not envelope.content_ref.startswith(SCHEDULED_CONTENT):
            raise Problem(409, "not_scheduled", detail="the email was not accepted as scheduled")
        now = clock.now()
        try:
            due_at = when(text, now) or now
            if due_at - AHEAD_MAX > times.near(envelope.accepted_at):
                detail = f"scheduled_at is more than {AHEAD_MAX.days} days after the email was sent"
                raise BadTime(detail)
        except BadTime as error:
            fault = Fault("#/scheduled_at", "invalid_time", str(error))
            raise Problem(422, "validation_error", detail=str(error), faults=[fault]) from None
        return due_at

    async def release(self, caller: Caller, email_id: str) -> list[str]:
        """What is held for review goes on. Raises Problem 409 when nothing is."""
        email = await self.find(caller, email_id)
        router = self._others.router
        ids = [one.message_id for one in email.messages]
        request = ReleaseRequest(tenant_id=caller.tenant_id, message_ids=ids)
        answer = await router.ask(router.stub.Release, request, deadline_s=2.0)
        if not answer.released:
            raise Problem(409, "not_held", detail="the email is not held for review")
        return list(answer.released)

    async def search(
        self,
        caller: Caller,
        page: Page,
        **filters: Any,  # noqa: ANN401 - a protobuf's
    ) -> tuple[list[LoggedEmail], bool]:
        """filters: those of events' ListEmailsRequest."""
        events = self._others.events
        request = ListEmailsRequest(
            tenant_id=caller.tenant_id, test_only=caller.test,
            limit=page.limit, after=page.after, before=page.before, **filters,
        )  # fmt: skip
        answer = await events.ask(events.stub.ListEmails, request)
        return list(answer.emails), answer.has_more

    async def events(
        self, caller: Caller, email_id: str, page: Page
    ) -> tuple[list[LoggedEvent], bool]:
        email = await self.find(caller, email_id)
        events = self._others.events
        request = ListEventsRequest(
            tenant_id=caller.tenant_id,
            email_id=email.first.envelope.email_id,
            limit=page.limit, after=page.after,
        )  # fmt: skip
        answer = await events.ask(events.stub.ListEvents, request)
        return list(answer.events), answer.has_more


def _refuse_late(too_late: Any, email: KeptEmail, what: str) -> None:  # noqa: ANN401 - of ids
    if not too_late:
        return
    late = set(too_late)
    names = ", ".join(one.recipient.address for one in email.messages if one.message_id in late)
    detail = f"it is too late: not {what} for {names}"
    raise Problem(409, "not_scheduled", detail=detail)
