"""contracts.ingest.v1.PoolService."""

from contracts.ingest.v1 import pool_service_pb2 as pb
from contracts.ingest.v1.pool_service_pb2_grpc import PoolServiceServicer
from contracts.router.v1.directory_pb2 import Pool
from services.ingest.api.callers import Caller
from services.ingest.api.egress.cells import CreateCellRequest, cell_to_json
from services.ingest.api.egress.pools import CreatePoolRequest, PoolResource, UpdatePoolRequest
from services.ingest.api.egress.views import pool_to_json
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class PoolServicer(PoolServiceServicer):
    def __init__(self, access: RpcAccess, pools: PoolResource) -> None:
        self.access = access
        self._pools = pools

    @authenticated
    async def CreatePool(
        self, request: pb.CreatePoolRequest, caller: Caller, _: Context
    ) -> pb.CreatePoolResponse:
        given = given_fields(request, CreatePoolRequest)
        return pb.CreatePoolResponse(pool=to_proto(await self._pools.create(caller, given)))

    @authenticated
    async def ListPools(
        self, request: pb.ListPoolsRequest, _: Caller, __: Context
    ) -> pb.ListPoolsResponse:
        found, has_more = await self._pools.page(page_of(request), name=request.name)
        pools = [to_proto(one) for one in found]
        token = next_page_token(pools, has_more=has_more)
        return pb.ListPoolsResponse(pools=pools, next_page_token=token)

    @authenticated
    async def UpdatePool(
        self, request: pb.UpdatePoolRequest, caller: Caller, _: Context
    ) -> pb.UpdatePoolResponse:
        given = given_fields(request, UpdatePoolRequest)
        pool = await self._pools.update(caller, request.id, given)
        return pb.UpdatePoolResponse(pool=to_proto(pool))

    @authenticated
    async def DeletePool(
        self, request: pb.DeletePoolRequest, caller: Caller, _: Context
    ) -> pb.DeletePoolResponse:
        return pb.DeletePoolResponse(id=await self._pools.delete(caller, request.id))

    @authenticated
    async def CreateCell(
        self, request: pb.CreateCellRequest, caller: Caller, _: Context
    ) -> pb.CreateCellResponse:
        given = given_fields(request, CreateCellRequest)
        cell = await self._pools.cells.create(caller, given)
        return pb.CreateCellResponse(cell=proto_from_json(pb.CellInfo, cell_to_json(cell)))

    @authenticated
    async def ListCells(
        self, request: pb.ListCellsRequest, _: Caller, __: Context
    ) -> pb.ListCellsResponse:
        found, has_more = await self._pools.cells.page(page_of(request, are_ids=False))
        cells = [proto_from_json(pb.CellInfo, cell_to_json(one)) for one in found]
        token = next_page_token(cells, has_more=has_more)
        return pb.ListCellsResponse(cells=cells, next_page_token=token)


def to_proto(pool: Pool) -> pb.PoolInfo:
    return proto_from_json(pb.PoolInfo, pool_to_json(pool))
