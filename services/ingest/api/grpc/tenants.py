"""contracts.ingest.v1.TenantService."""

from contracts.ingest.v1 import tenant_service_pb2 as pb
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.tenant_service_pb2_grpc import TenantServiceServicer
from services.ingest.api.administration.tenants import (
    CreateTenantRequest,
    PauseTenantRequest,
    TenantResource,
    UpdateTenantRequest,
)
from services.ingest.api.administration.views import tenant_to_json
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


class TenantServicer(TenantServiceServicer):
    def __init__(self, access: RpcAccess, tenants: TenantResource) -> None:
        self.access = access
        self._tenants = tenants

    @authenticated
    async def CreateTenant(
        self, request: pb.CreateTenantRequest, caller: Caller, _: Context
    ) -> pb.CreateTenantResponse:
        given = given_fields(request, CreateTenantRequest)
        return pb.CreateTenantResponse(tenant=to_proto(await self._tenants.create(caller, given)))

    @authenticated
    async def ListTenants(
        self, request: pb.ListTenantsRequest, caller: Caller, _: Context
    ) -> pb.ListTenantsResponse:
        found, has_more = await self._tenants.page(
            caller,
            page_of(request),
            external_id=request.external_id,
            account_id=request.account_id,
            name=request.name,
        )
        tenants = [to_proto(one) for one in found]
        token = next_page_token(tenants, has_more=has_more)
        return pb.ListTenantsResponse(tenants=tenants, next_page_token=token)

    @authenticated
    async def GetTenant(
        self, request: pb.GetTenantRequest, caller: Caller, _: Context
    ) -> pb.GetTenantResponse:
        return pb.GetTenantResponse(tenant=to_proto(await self._tenants.get(caller, request.id)))

    @authenticated
    async def UpdateTenant(
        self, request: pb.UpdateTenantRequest, caller: Caller, _: Context
    ) -> pb.UpdateTenantResponse:
        given = given_fields(request, UpdateTenantRequest)
        tenant = await self._tenants.update(caller, request.id, given)
        return pb.UpdateTenantResponse(tenant=to_proto(tenant))

    @authenticated
    async def DeleteTenant(
        self, request: pb.DeleteTenantRequest, caller: Caller, _: Context
    ) -> pb.DeleteTenantResponse:
        deleted = await self._tenants.delete(caller, request.id)
        return pb.DeleteTenantResponse(id=deleted.tenant_id)

    @authenticated
    async def PauseTenant(
        self, request: pb.PauseTenantRequest, caller: Caller, _: Context
    ) -> pb.PauseTenantResponse:
        given = given_fields(request, PauseTenantRequest)
        tenant = await self._tenants.pause(caller, request.id, given)
        return pb.PauseTenantResponse(tenant=to_proto(tenant))

    @authenticated
    async def ResumeTenant(
        self, request: pb.ResumeTenantRequest, caller: Caller, _: Context
    ) -> pb.ResumeTenantResponse:
        return pb.ResumeTenantResponse(
            tenant=to_proto(await self._tenants.resume(caller, request.id))
        )


def to_proto(tenant: Tenant) -> pb.TenantInfo:
    return proto_from_json(pb.TenantInfo, tenant_to_json(tenant))
