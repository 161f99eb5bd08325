"""The RPCs of contracts.ingest.v1.EmailService that read the events of all emails."""

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import EventFilter
from contracts.ingest.v1 import email_service_pb2 as pb
from services.ingest.api.callers import Caller
from services.ingest.api.email_events import EmailEventResource
from services.ingest.api.grpc.base import RpcAccess, authenticated, checked_json, page_of
from services.ingest.api.grpc.email_views import event_to_proto
from services.ingest.api.grpc.server import Context
from services.ingest.domain.problem import Problem, unavailable


class EventQueryRpcs:
    access: RpcAccess
    email_events: EmailEventResource

    @authenticated
    async def SearchEmailEvents(
        self, request: pb.SearchEmailEventsRequest, caller: Caller, context: Context
    ) -> pb.SearchEmailEventsResponse:
        page = page_of(request, are_ids=False)
        found = await self.email_events.search(
            caller, filter_of(request), limit=page.limit, after=page.after,
            since=_bound(request, "since"), until=_bound(request, "until"),
        )  # fmt: skip
        return pb.SearchEmailEventsResponse(
            events=map(event_to_proto, found.events), next_page_token=found.next
        )

    @authenticated
    async def StreamEvents(
        self, request: pb.StreamEventsRequest, caller: Caller, context: Context
    ) -> None:
        checked_json(request)
        after, wanted = request.page_token, filter_of(request)
        async with self.email_events.stream(caller, wanted, after=after) as responses:
            async for one in responses:
                if one.end:
                    raise SLOW if one.end == "slow" else unavailable()
                event = event_to_proto(one.event) if one.HasField("event") else None
                response = pb.StreamEventsResponse(event=event, next_page_token=one.position)
                await context.write(response)


SLOW = Problem(
    429,
    "rate_limit_exceeded",
    detail="Events arrive faster than they are read. Go on from the last next_page_token.",
)


def filter_of(request: pb.SearchEmailEventsRequest | pb.StreamEventsRequest) -> EventFilter:
    return EventFilter(
        types=request.type, to=request.to, domain=request.domain, tag=request.tag,
        site=request.site, bounce_class=request.bounce_class, message_id=request.message_id,
    )  # fmt: skip


def _bound(request: pb.SearchEmailEventsRequest, name: str) -> Timestamp | None:
    return getattr(request, name) if request.HasField(name) else None  # type: ignore[arg-type]
