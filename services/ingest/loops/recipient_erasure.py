"""Erases recipients in the background, page by page.

The log knows the messages to an address, so its own rows go last: whatever a killed process has not
reached is found again, and each step changes nothing when it is repeated. A message that is being
delivered is left for the next pass. When nothing is left for a while, the erasure is complete; one
more pass follows when no topic can repeat an event any more.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.delivery.v1 import delivery_service_pb2 as delivery
from contracts.events.v1 import events_service_pb2 as events
from contracts.events.v1.events_service_pb2 import RecipientMessage
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1 import router_service_pb2 as router
from kernel import clock
from kernel.content import ContentStore
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.ids import NIL
from kernel.lease import Lease
from kernel.redaction import pattern_of
from services.ingest.clients import ServiceClients
from services.ingest.domain.accepted_event import timestamp
from services.ingest.loops.suppression_imports import is_temporary
from services.ingest.store.erasures import DueErasure, ErasableMessage, Erasure, ErasureStore

PAGE = 20  # messages, each with up to 50 recipients of its email
DEADLINE_S = 10.0
RETRY_S = 30.0
FIRST_PAGE: str | None = ""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecipientErasure:
    """settle_s: for how long nothing must be found before an erasure is complete: events that are
    on their way to the log are recorded by then."""

    store: ErasureStore
    clients: ServiceClients
    content: ContentStore
    lease: Lease
    settle_s: float

    async def run_once(self) -> None:
        """One pass of each erasure that is due. Only the holder of the lease does."""
        try:
            while self.lease.fence is not None and (due := await self.store.next_due()):
                await self._try(due)
        except Fenced:
            logger.info("erasure.lease_lost")
        except Unavailable as error:
            logger.warning("erasure.unavailable", extra={"reason": repr(error)})

    async def _try(self, due: DueErasure) -> None:
        """Raises Fenced, Unavailable."""
        try:
            await self._pass(due)
        except Fenced:
            raise
        except Exception as error:
            # Others must not wait for it: one that is too large for a deadline fails each time.
            await self.store.postpone(due.erasure, delay_s=RETRY_S)
            about = {"erasure": due.erasure.erasure_id, "reason": repr(error)}
            if is_temporary(error):
                logger.warning("erasure.postponed", extra=about)
            else:
                logger.exception("erasure.failed", extra=about)

    async def _pass(self, due: DueErasure) -> None:
        """Raises Fenced, Problem, Unavailable: then it is repeated."""
        erasure = due.erasure
        found, left = await self._erase_messages(due)
        settled = (clock.now() - erasure.created_at).total_seconds() > self.settle_s
        if left or found or not settled:
            await self.store.postpone(erasure, delay_s=self.settle_s / 2)
            return
        await self._erase_suppressions(due)  # all are read, so only once
        await self._erase_audit_log(due)
        await self.store.complete(erasure)
        logger.info("erasure.done", extra={"erasure": erasure.erasure_id})

    async def _erase_messages(self, due: DueErasure) -> tuple[int, int]:
        """How many were found, and how many of them are left for the next pass."""
        found, left, last = 0, 0, None
        while True:
            request = events.ListRecipientMessagesRequest(
                **owner_fields(due.erasure), address=due.address, last=last, limit=PAGE,
                until=timestamp(due.erasure.created_at),
            )  # fmt: skip
            client = self.clients.events
            response = await client.call(
                client.stub.ListRecipientMessages, request, deadline_s=DEADLINE_S
            )
            for tenant_id in sorted({one.tenant_id for one in response.messages}):
                page = [one for one in response.messages if one.tenant_id == tenant_id]
                left += await self._erase_page(due, tenant_id, page)
            found += len(response.messages)
            if len(response.messages) < PAGE:
                return found, left
            last = response.messages[-1]

    async def _erase_page(
        self, due: DueErasure, tenant_id: str, page: Sequence[RecipientMessage]
    ) -> int:
        """How many messages are not closed yet."""
        stored = await self.store.load_messages(sorted({one.email_id for one in page}))
        wanted = {one.message_id for one in page}
        await self._cancel(tenant_id, [one for one in stored if one.message_id in wanted])
        failpoint("ingest.erasure.canceled")
        open_ids = await self._erase_in_router(due.address, tenant_id, sorted(wanted))
        closed = sorted(wanted - open_ids)
        open_ids |= await self._erase_in_delivery(due.address, tenant_id, closed)
        waiting = emails_in_use(stored, open_ids, wanted)
        ready = [
            one for one in page if one.message_id not in open_ids and one.email_id not in waiting
        ]
        if ready:
            await self._erase_here_and_in_log(due, ready, stored)
        return len(page) - len(ready)

    async def _cancel(self, tenant_id: str, messages: Sequence[ErasableMessage]) -> None:
        """Whatever can be; also what router does not know yet."""
        contexts: list[MessageContext] = [
            one.accepted.context for one in messages if not one.closed
        ]
        if contexts:
            request = router.CancelRequest(tenant_id=tenant_id, contexts=contexts)
            client = self.clients.router
            await client.call(client.stub.Cancel, request, deadline_s=DEADLINE_S)

    async def _erase_in_router(
        self, address: str, tenant_id: str, message_ids: Sequence[str]
    ) -> set[str]:
        """Returns the messages that are not closed."""
        client = self.clients.router
        request = router.EraseMessagesRequest(
            message_ids=message_ids, address=address, tenant_id=tenant_id
        )
        response = await client.call(client.stub.EraseMessages, request, deadline_s=DEADLINE_S)
        failpoint("ingest.erasure.router")
        return set(response.open_ids)

    async def _erase_in_delivery(
        self, address: str, tenant_id: str, message_ids: Sequence[str]
    ) -> set[str]:
        """Returns the messages with an attempt that has not ended."""
        client = self.clients.delivery
        request = delivery.EraseMessagesRequest(
            message_ids=message_ids, address=address, tenant_id=tenant_id
        )
        response = await client.call(client.stub.EraseMessages, request, deadline_s=DEADLINE_S)
        failpoint("ingest.erasure.delivery")
        return set(response.open_ids)

    async def _erase_here_and_in_log(
        self,
        due: DueErasure,
        messages: Sequence[RecipientMessage],
        stored: Sequence[ErasableMessage],
    ) -> None:
        """The log comes last."""
        ids = [one.message_id for one in messages]
        emails = {one.email_id for one in messages}
        references = {
            context.content_ref
            for one in stored
            if (context := one.accepted.context).email_id in emails
        }
        await self.content.erase(sorted(references))
        failpoint("ingest.erasure.content")
        await self.store.erase_messages(
            due.erasure, ids, sorted(emails), pattern=pattern_of(due.address)
        )
        failpoint("ingest.erasure.ingest")
        in_log = self.clients.events
        last = events.EraseMessagesRequest(messages=messages, address=due.address)
        await in_log.call(in_log.stub.EraseMessages, last, deadline_s=DEADLINE_S)
        failpoint("ingest.erasure.events")

    async def _erase_suppressions(self, due: DueErasure) -> None:
        owner = owner_fields(due.erasure)
        client = self.clients.router
        request = router.EraseSuppressionsRequest(**owner, address=due.address)
        await client.call(client.stub.EraseSuppressions, request, deadline_s=DEADLINE_S)
        failpoint("ingest.erasure.suppressions")
        in_log, page = self.clients.events, FIRST_PAGE
        while page is not None:
            events_of = events.EraseSuppressionEventsRequest(
                **owner, address=due.address, page_token=page
            )
            method = in_log.stub.EraseSuppressionEvents
            response = await in_log.call(method, events_of, deadline_s=DEADLINE_S)
            page = response.next_page_token or None

    async def _erase_audit_log(self, due: DueErasure) -> None:
        """Raises Fenced."""
        last: str | None = str(NIL)
        while last is not None:
            last = await self.store.erase_audit_log(due.erasure, due.address, after=last)
        failpoint("ingest.erasure.audit_log")


def owner_fields(erasure: Erasure) -> dict[str, str]:
    """The tenant, or else the account."""
    if erasure.tenant_id:
        return {"tenant_id": erasure.tenant_id}
    return {"account_id": erasure.account_id}


def emails_in_use(
    stored: Sequence[ErasableMessage], open_ids: set[str], wanted: set[str]
) -> set[str]:
    """The emails with a message to another recipient that is not closed: it needs the content."""
    return {
        one.accepted.context.email_id
        for one in stored
        if one.message_id in open_ids or (one.message_id not in wanted and not one.closed)
    }
