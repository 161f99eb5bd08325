"""contracts.ingest.v1.QueueService."""

from contracts.ingest.v1 import queue_service_pb2 as pb
from contracts.ingest.v1.queue_service_pb2_grpc import QueueServiceServicer
from services.ingest.api.access import Principal
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.queues import (
    CancelQueuedRequest,
    QueueResource,
    cancellation_to_json,
    to_json,
)


class QueueServicer(QueueServiceServicer):
    def __init__(self, access: RpcAccess, queues: QueueResource) -> None:
        self.access = access
        self._queues = queues

    @authenticated
    async def ListQueues(
        self, request: pb.ListQueuesRequest, caller: Caller, _: Context
    ) -> pb.ListQueuesResponse:
        found, has_more = await self._queues.page(caller, page_of(request, are_ids=False))
        queues = [proto_from_json(pb.QueueInfo, to_json(one)) for one in found]
        token = next_page_token(queues, has_more=has_more)
        return pb.ListQueuesResponse(queues=queues, next_page_token=token)

    @authenticated
    async def CancelQueued(
        self, request: pb.CancelQueuedRequest, principal: Principal, _: Context
    ) -> pb.CancelQueuedResponse:
        page = await self._queues.cancel(principal, given_fields(request, CancelQueuedRequest))
        return proto_from_json(pb.CancelQueuedResponse, cancellation_to_json(page))
