"""contracts.ingest.v1.SuppressionService."""

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.ingest.v1.suppression_service_pb2_grpc import SuppressionServiceServicer
from contracts.router.v1.router_service_pb2 import Suppression
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
from services.ingest.api.suppressions import (
    Addresses,
    NewSuppression,
    Suppressions,
    SuppressionSelector,
    to_json,
)


class SuppressionServicer(SuppressionServiceServicer):
    def __init__(self, access: RpcAccess, suppressions: Suppressions) -> None:
        self.access = access
        self._suppressions = suppressions

    @authenticated
    async def AddSuppression(
        self, request: pb.AddSuppressionRequest, principal: Principal, _: Context
    ) -> pb.AddSuppressionResponse:
        new = given_fields(request, NewSuppression)
        [added] = await self._suppressions.add(principal, [new.email], "#/email")
        return pb.AddSuppressionResponse(suppression=to_proto(added))

    @authenticated
    async def AddSuppressions(
        self, request: pb.AddSuppressionsRequest, principal: Principal, _: Context
    ) -> pb.AddSuppressionsResponse:
        new = given_fields(request, Addresses)
        added = await self._suppressions.add(principal, new.emails, "#/emails")
        return pb.AddSuppressionsResponse(ids=[one.id for one in added])

    @authenticated
    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, caller: Caller, _: Context
    ) -> pb.ListSuppressionsResponse:
        found, has_more = await self._suppressions.page(
            caller, page_of(request), email=request.email
        )
        token = next_page_token(found, has_more=has_more)
        return pb.ListSuppressionsResponse(suppressions=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetSuppression(
        self, request: pb.GetSuppressionRequest, principal: Principal, _: Context
    ) -> pb.GetSuppressionResponse:
        given = given_fields(request, NewSuppression)
        found = await self._suppressions.get(principal, given.email)
        return pb.GetSuppressionResponse(suppression=to_proto(found))

    @authenticated
    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, principal: Principal, _: Context
    ) -> pb.DeleteSuppressionResponse:
        given = given_fields(request, NewSuppression)
        removed = await self._suppressions.remove_one(principal, given.email)
        return pb.DeleteSuppressionResponse(id=removed.id)

    @authenticated
    async def RemoveSuppressions(
        self, request: pb.RemoveSuppressionsRequest, principal: Principal, _: Context
    ) -> pb.RemoveSuppressionsResponse:
        which = given_fields(request, SuppressionSelector)
        removed = await self._suppressions.remove(principal, which)
        return pb.RemoveSuppressionsResponse(ids=[one.id for one in removed])


def to_proto(one: Suppression) -> pb.SuppressionInfo:
    return proto_from_json(pb.SuppressionInfo, to_json(one))
