"""The gRPC API for the other services: attempts from the journal, and captured test mail."""

import grpc

from contracts.delivery.v1 import delivery_service_pb2 as pb
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceServicer
from kernel.database import Database
from kernel.rpc import Context, RequestError, check_text, map_errors, parse_id
from services.delivery.domain.owned_attempt import AttemptKey
from services.delivery.store.journal import Journal
from services.delivery.store.sandbox import SandboxStore

KEYS_MAX = 500


class DeliveryServicer(DeliveryServiceServicer):
    """system_database: for the journal of all tenants; tenant_database: for the captured mail of
    one."""

    def __init__(
        self, system_database: Database, tenant_database: Database, *, sandbox: SandboxStore
    ) -> None:
        self._system_database = system_database
        self._tenant_database = tenant_database
        self._journal = Journal()
        self._sandbox = sandbox

    @map_errors
    async def GetAttempts(  # noqa: N802 - the contract's name
        self, request: pb.GetAttemptsRequest, context: Context
    ) -> pb.GetAttemptsResponse:
        if len(request.keys) > KEYS_MAX:
            raise RequestError(f"too many keys: {len(request.keys)}. Send at most {KEYS_MAX}.")
        keys = [
            AttemptKey(parse_id(key.message_id, "message_id"), key.attempt) for key in request.keys
        ]
        async with self._system_database.transaction() as tx:
            return pb.GetAttemptsResponse(attempts=await self._journal.find(tx, keys))

    @map_errors
    async def ListSandboxMessages(  # noqa: N802
        self, request: pb.ListSandboxMessagesRequest, context: Context
    ) -> pb.ListSandboxMessagesResponse:
        tenant_id = parse_id(request.tenant_id, "tenant_id")
        after = request.after and parse_id(request.after, "after")
        before = request.before and parse_id(request.before, "before")
        async with self._tenant_database.transaction(tenant_id=tenant_id) as tx:
            found, more = await self._sandbox.list(
                tx,
                limit=request.limit,
                after=after,
                before=before,
                recipient=check_text(request.recipient, "recipient"),
            )
        return pb.ListSandboxMessagesResponse(messages=found, has_more=more)

    @map_errors
    async def GetSandboxMessage(  # noqa: N802
        self, request: pb.GetSandboxMessageRequest, context: Context
    ) -> pb.GetSandboxMessageResponse:
        tenant_id = parse_id(request.tenant_id, "tenant_id")
        message_id = parse_id(request.id, "id")
        async with self._tenant_database.transaction(tenant_id=tenant_id) as tx:
            found = await self._sandbox.get(tx, message_id)
        if found is None:
            raise RequestError("sandbox message not found", grpc.StatusCode.NOT_FOUND)
        return pb.GetSandboxMessageResponse(message=found)
