"""Scheduled queues, and the cancellation of what waits in them."""

from collections.abc import Sequence

from contracts.router.v1.router_service_pb2 import ListQueuesRequest, ScheduledQueue
from mail.address import AddressError
from services.ingest.api.access import Principal
from services.ingest.api.callers import Caller
from services.ingest.api.cancellation import CancellationPage
from services.ingest.api.emails import EmailResource
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, invalid
from services.ingest.domain.waiting_filter import WaitingFilter
from services.ingest.store.directory_lists import PageBounds


class TagFilter(RequestModel):
    """A tag with this name, and with this value if one is given."""

    name: str
    value: str | None = None


class CancelFilter(RequestModel):
    """Messages that match every given field. `sender` is an address or a domain; `all` is for every
    message that waits."""

    recipient_domain: str = ""
    sender: str = ""
    site: str = ""
    tag: TagFilter | None = None
    all: bool = False


class CancelQueuedRequest(RequestModel):
    """Messages to cancel."""

    filter: CancelFilter
    after: str = ""
    dry_run: bool = False


class QueueResource:
    """Raises Problem for everything that the router refuses."""

    def __init__(self, clients: ServiceClients, emails: EmailResource) -> None:
        self._router = clients.router
        self._emails = emails

    async def page(self, caller: Caller, page: PageBounds) -> tuple[Sequence[ScheduledQueue], bool]:
        """Of a tenant, or of all tenants of an account, in the order of their ids."""
        request = ListQueuesRequest(
            **caller.owner._asdict(), limit=page.limit, after=page.after, test_only=caller.test
        )
        response = await self._router.call(self._router.stub.ListQueues, request)
        return response.queues, response.has_more

    async def cancel(self, principal: Principal, given: CancelQueuedRequest) -> CancellationPage:
        return await self._emails.cancel_waiting(
            principal,
            waiting_filter(given.filter, test_only=principal.test),
            after=given.after,
            dry_run=given.dry_run,
        )


def waiting_filter(given: CancelFilter, *, test_only: bool) -> WaitingFilter:
    """Raises Problem, also if the filter is empty: a mistake would cancel everything."""
    try:
        found = WaitingFilter.parse(
            recipient_domain=given.recipient_domain,
            sender=given.sender,
            site=given.site,
            tag=(given.tag.name, given.tag.value) if given.tag else None,
            test_only=test_only,
        )
    except AddressError as error:
        raise invalid([Fault("#/filter", "invalid", str(error))]) from error
    if found.is_empty and not given.all:
        detail = "The filter is empty. Name what to cancel, or set all to true."
        raise invalid([Fault("#/filter", "missing_required_field", detail)])
    return found


def cancellation_to_json(page: CancellationPage) -> dict[str, object]:
    return {
        "object": "cancellation",
        "matched": page.matched,
        "canceled": page.canceled,
        "next": page.next or None,
    }


def to_json(queue: ScheduledQueue) -> dict[str, object]:
    return {
        "object": "queue",
        "id": queue.id,
        "tenant_id": queue.tenant_id,
        "site": queue.site,
        "priority": queue.priority,
        "next_at": format_timestamp(queue.next_at),
        "limited_by": queue.limited_by or None,
        "limit_scope": queue.limit_scope or None,
        "queued": queue.queued,
    }
