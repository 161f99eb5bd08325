"""contracts.ingest.v1.ApiKeyService."""

from datetime import datetime

from contracts.ingest.v1 import api_key_service_pb2 as pb
from contracts.ingest.v1.api_key_service_pb2_grpc import ApiKeyServiceServicer
from contracts.ingest.v1.directory_pb2 import ApiKey
from services.ingest.api.administration.api_keys import (
    ApiKeyResource,
    CreateApiKeyRequest,
    RotateApiKeyRequest,
    UpdateApiKeyRequest,
)
from services.ingest.api.administration.views import api_key_to_json
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


class ApiKeyServicer(ApiKeyServiceServicer):
    def __init__(self, access: RpcAccess, keys: ApiKeyResource) -> None:
        self.access = access
        self._keys = keys

    @authenticated
    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, caller: Caller, _: Context
    ) -> pb.CreateApiKeyResponse:
        given = given_fields(request, CreateApiKeyRequest)
        secret, key = await self._keys.create(caller, given, brand=self.access.brands.default)
        return pb.CreateApiKeyResponse(api_key=to_proto(key), token=secret)

    @authenticated
    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, caller: Caller, _: Context
    ) -> pb.ListApiKeysResponse:
        found, has_more = await self._keys.page(
            caller, page_of(request), account_id=request.account_id
        )
        used = await self._keys.last_used(caller, found)
        keys = [to_proto(one, used.get(one.key_id)) for one in found]
        token = next_page_token(keys, has_more=has_more)
        return pb.ListApiKeysResponse(api_keys=keys, next_page_token=token)

    @authenticated
    async def UpdateApiKey(
        self, request: pb.UpdateApiKeyRequest, caller: Caller, _: Context
    ) -> pb.UpdateApiKeyResponse:
        given = given_fields(request, UpdateApiKeyRequest)
        key = await self._keys.rename(caller, request.id, given)
        used = await self._keys.last_used(caller, [key])
        return pb.UpdateApiKeyResponse(api_key=to_proto(key, used.get(key.key_id)))

    @authenticated
    async def RotateApiKey(
        self, request: pb.RotateApiKeyRequest, caller: Caller, _: Context
    ) -> pb.RotateApiKeyResponse:
        given = given_fields(request, RotateApiKeyRequest)
        secret, key = await self._keys.rotate(caller, request.id, given)
        return pb.RotateApiKeyResponse(api_key=to_proto(key), token=secret)

    @authenticated
    async def DeleteApiKey(
        self, request: pb.DeleteApiKeyRequest, caller: Caller, _: Context
    ) -> pb.DeleteApiKeyResponse:
        deleted = await self._keys.delete(caller, request.id)
        return pb.DeleteApiKeyResponse(id=deleted.key_id)


def to_proto(key: ApiKey, last_used_at: datetime | None = None) -> pb.ApiKeyInfo:
    return proto_from_json(pb.ApiKeyInfo, api_key_to_json(key, last_used_at))
