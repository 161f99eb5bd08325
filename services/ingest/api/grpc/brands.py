"""contracts.ingest.v1.BrandService."""

from contracts.ingest.v1 import brand_service_pb2 as pb
from contracts.ingest.v1.brand_service_pb2_grpc import BrandServiceServicer
from services.ingest.api.administration.brands import (
    BrandResource,
    BrandWithId,
    CreateBrandRequest,
    UpdateBrandRequest,
)
from services.ingest.api.administration.views import brand_to_json
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


class BrandServicer(BrandServiceServicer):
    def __init__(self, access: RpcAccess, brands: BrandResource) -> None:
        self.access = access
        self._brands = brands

    @authenticated
    async def CreateBrand(
        self, request: pb.CreateBrandRequest, caller: Caller, _: Context
    ) -> pb.CreateBrandResponse:
        given = given_fields(request, CreateBrandRequest)
        return pb.CreateBrandResponse(brand=to_proto(await self._brands.create(caller, given)))

    @authenticated
    async def ListBrands(
        self, request: pb.ListBrandsRequest, _: Caller, __: Context
    ) -> pb.ListBrandsResponse:
        page = page_of(request, are_ids=False)
        found, has_more = await self._brands.page(page, name=request.name)
        token = next_page_token(found, has_more=has_more)
        return pb.ListBrandsResponse(brands=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetBrand(
        self, request: pb.GetBrandRequest, caller: Caller, _: Context
    ) -> pb.GetBrandResponse:
        return pb.GetBrandResponse(brand=to_proto(await self._brands.get(caller, request.id)))

    @authenticated
    async def UpdateBrand(
        self, request: pb.UpdateBrandRequest, caller: Caller, _: Context
    ) -> pb.UpdateBrandResponse:
        given = given_fields(request, UpdateBrandRequest)
        changed = await self._brands.update(caller, request.id, given)
        return pb.UpdateBrandResponse(brand=to_proto(changed))

    @authenticated
    async def DeleteBrand(
        self, request: pb.DeleteBrandRequest, caller: Caller, _: Context
    ) -> pb.DeleteBrandResponse:
        return pb.DeleteBrandResponse(id=await self._brands.delete(caller, request.id))


def to_proto(entry: BrandWithId) -> pb.BrandInfo:
    return proto_from_json(pb.BrandInfo, brand_to_json(entry))
