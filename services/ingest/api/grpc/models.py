"""contracts.ingest.v1.ModelService."""

from contracts.ingest.v1 import model_service_pb2 as pb
from contracts.ingest.v1.model_service_pb2_grpc import ModelServiceServicer
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
from services.ingest.api.models import (
    ModelResource,
    ReviewVersionRequest,
    model_to_json,
    version_to_json,
)


class ModelServicer(ModelServiceServicer):
    def __init__(self, access: RpcAccess, models: ModelResource) -> None:
        self.access = access
        self._models = models

    @authenticated
    async def ListModels(
        self, request: pb.ListModelsRequest, caller: Caller, _: Context
    ) -> pb.ListModelsResponse:
        found, has_more = await self._models.page(page_of(request, are_ids=False))
        models = [proto_from_json(pb.ScreeningModelInfo, model_to_json(one)) for one in found]
        token = next_page_token(models, has_more=has_more)
        return pb.ListModelsResponse(models=models, next_page_token=token)

    @authenticated
    async def ListVersions(
        self, request: pb.ListVersionsRequest, caller: Caller, _: Context
    ) -> pb.ListVersionsResponse:
        found, has_more = await self._models.versions(page_of(request, are_ids=False))
        versions = [proto_from_json(pb.LearnedVersionInfo, version_to_json(one)) for one in found]
        token = next_page_token(versions, has_more=has_more)
        return pb.ListVersionsResponse(versions=versions, next_page_token=token)

    @authenticated
    async def PromoteVersion(
        self, request: pb.PromoteVersionRequest, caller: Caller, _: Context
    ) -> pb.PromoteVersionResponse:
        version = await self._review(request, caller, promoted=True)
        return pb.PromoteVersionResponse(version=version)

    @authenticated
    async def WithdrawVersion(
        self, request: pb.WithdrawVersionRequest, caller: Caller, _: Context
    ) -> pb.WithdrawVersionResponse:
        version = await self._review(request, caller, promoted=False)
        return pb.WithdrawVersionResponse(version=version)

    async def _review(
        self,
        request: pb.PromoteVersionRequest | pb.WithdrawVersionRequest,
        caller: Caller,
        *,
        promoted: bool,
    ) -> pb.LearnedVersionInfo:
        given = given_fields(request, ReviewVersionRequest)
        found = await self._models.review(caller, request.id, given, promoted=promoted)
        return proto_from_json(pb.LearnedVersionInfo, version_to_json(found))
