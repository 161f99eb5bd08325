"""contracts.ingest.v1.SandboxService."""

from contracts.delivery.v1.delivery_service_pb2 import SandboxMessage
from contracts.ingest.v1 import sandbox_service_pb2 as pb
from contracts.ingest.v1.sandbox_service_pb2_grpc import SandboxServiceServicer
from services.ingest.api.access import Principal
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.sandbox import SandboxResource, to_json


class SandboxServicer(SandboxServiceServicer):
    def __init__(self, access: RpcAccess, sandbox: SandboxResource) -> None:
        self.access = access
        self._sandbox = sandbox

    @authenticated
    async def ListSandboxMessages(
        self, request: pb.ListSandboxMessagesRequest, principal: Principal, _: Context
    ) -> pb.ListSandboxMessagesResponse:
        page = page_of(request)
        found, has_more = await self._sandbox.page(principal, page, recipient=request.recipient)
        token = next_page_token(found, has_more=has_more)
        return pb.ListSandboxMessagesResponse(messages=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetSandboxMessage(
        self, request: pb.GetSandboxMessageRequest, principal: Principal, _: Context
    ) -> pb.GetSandboxMessageResponse:
        found = await self._sandbox.get(principal, request.id)
        return pb.GetSandboxMessageResponse(message=to_proto(found), raw=found.raw)


def to_proto(message: SandboxMessage) -> pb.SandboxMessageInfo:
    return proto_from_json(pb.SandboxMessageInfo, to_json(message))
