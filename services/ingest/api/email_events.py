"""The public events of emails: search."""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import EventFilter, ListEventsRequest, LoggedEvent
from services.ingest.api.callers import Caller
from services.ingest.clients import ServiceClients


class EventPage(NamedTuple):
    """next: the cursor of the next page; empty at the end."""

    events: Sequence[LoggedEvent]
    next: str


class EmailEvents:
    """Those of a tenant, or of all tenants of an account. A test key sees those of test mail."""

    def __init__(self, clients: ServiceClients) -> None:
        self._clients = clients

    async def search(
        self,
        caller: Caller,
        wanted: EventFilter,
        *,
        limit: int,
        after: str,
        since: Timestamp | None,
        until: Timestamp | None,
    ) -> EventPage:
        """Newest first. Raises Problem."""
        events = self._clients.events
        request = ListEventsRequest(
            **caller.owner._asdict(), test_only=caller.test, filter=wanted, limit=limit,
            after=after, since=since, until=until,
        )  # fmt: skip
        response = await events.call(events.stub.ListEvents, request)
        return EventPage(response.events, response.next)


def split_types(text: str) -> list[str]:
    """The types of a list with commas."""
    return [one for one in (part.strip() for part in text.split(",")) if one]
