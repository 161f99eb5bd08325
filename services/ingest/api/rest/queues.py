"""/v1/queues: scheduled queues, with the limit that blocks each and the time when it continues."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from contracts.router.v1.router_service_pb2 import ListQueuesRequest, ScheduledQueue
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    format_timestamp,
    list_response,
)
from services.ingest.clients import ServiceClients


def routes(access: RestAccess, clients: ServiceClients) -> APIRouter:
    router = APIRouter(prefix="/v1/queues", tags=["queues"], responses=PROBLEM_RESPONSES)
    client = clients.router

    @router.get("", summary="List scheduled queues")
    async def list_queues(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
    ) -> Response:
        principal = await access.authenticate(incoming)
        request = ListQueuesRequest(
            tenant_id=principal.tenant_id,
            limit=requested_page.limit,
            after=requested_page.after,
            test_only=principal.test,
        )
        response = await client.call(client.stub.ListQueues, request)
        return list_response(map(to_json, response.queues), has_more=response.has_more)

    return router


def to_json(queue: ScheduledQueue) -> dict[str, object]:
    return {
        "object": "queue",
        "id": queue.id,
        "site": queue.site,
        "next_at": format_timestamp(queue.next_at),
        "limited_by": queue.limited_by or None,
        "queued": queue.queued,
    }
