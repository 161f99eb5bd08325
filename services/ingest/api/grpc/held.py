"""contracts.ingest.v1.HeldMailService."""

from contracts.ingest.v1 import held_mail_service_pb2 as pb
from contracts.ingest.v1.held_mail_service_pb2_grpc import HeldMailServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.held import (
    REJECTED,
    RELEASED,
    HeldFilter,
    HeldMailResource,
    ReviewHeldRequest,
    to_json,
)


class HeldMailServicer(HeldMailServiceServicer):
    def __init__(self, access: RpcAccess, held: HeldMailResource) -> None:
        self.access = access
        self._held = held

    @authenticated
    async def ListHeld(
        self, request: pb.ListHeldRequest, caller: Caller, _: Context
    ) -> pb.ListHeldResponse:
        page = page_of(request)
        wanted = given_fields(request, HeldFilter)
        found = await self._held.page(caller, wanted, limit=page.limit, after=page.after)
        messages = [proto_from_json(pb.HeldMessageInfo, to_json(one)) for one in found.messages]
        return pb.ListHeldResponse(messages=messages, next_page_token=found.next)

    @authenticated
    async def ReleaseHeld(
        self, request: pb.ReleaseHeldRequest, caller: Caller, _: Context
    ) -> pb.ReleaseHeldResponse:
        given = given_fields(request, ReviewHeldRequest)
        done = await self._held.review(caller, given, RELEASED)
        return proto_from_json(pb.ReleaseHeldResponse, done.to_json())

    @authenticated
    async def RejectHeld(
        self, request: pb.RejectHeldRequest, caller: Caller, _: Context
    ) -> pb.RejectHeldResponse:
        given = given_fields(request, ReviewHeldRequest)
        done = await self._held.review(caller, given, REJECTED)
        return proto_from_json(pb.RejectHeldResponse, done.to_json())
