"""contracts.ingest.v1.RecipientService."""

from contracts.ingest.v1 import recipient_service_pb2 as pb
from contracts.ingest.v1.recipient_service_pb2_grpc import RecipientServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    checked_json,
    next_page_token,
    page_of,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.recipients import ErasureResource, erasure_to_proto


class RecipientServicer(RecipientServiceServicer):
    def __init__(self, access: RpcAccess, recipients: ErasureResource) -> None:
        self.access = access
        self._recipients = recipients

    @authenticated
    async def EraseRecipient(
        self, request: pb.EraseRecipientRequest, caller: Caller, _: Context
    ) -> pb.EraseRecipientResponse:
        checked_json(request)
        found = await self._recipients.erase(caller, request.address)
        return pb.EraseRecipientResponse(erasure=erasure_to_proto(found))

    @authenticated
    async def ListErasures(
        self, request: pb.ListErasuresRequest, caller: Caller, _: Context
    ) -> pb.ListErasuresResponse:
        found, has_more = await self._recipients.page(caller, page_of(request))
        erasures = [erasure_to_proto(one) for one in found]
        token = next_page_token(erasures, has_more=has_more)
        return pb.ListErasuresResponse(erasures=erasures, next_page_token=token)

    @authenticated
    async def GetErasure(
        self, request: pb.GetErasureRequest, caller: Caller, _: Context
    ) -> pb.GetErasureResponse:
        checked_json(request)
        found = await self._recipients.get(caller, request.id)
        return pb.GetErasureResponse(erasure=erasure_to_proto(found))
