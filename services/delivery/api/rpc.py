"""The gRPC API for the other services: attempts from the journal, and captured test mail."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import grpc
import grpc.aio

from contracts.delivery.v1 import delivery_service_pb2 as pb
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceServicer
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.ids import canonical_uuid
from services.delivery.domain.owned_attempt import AttemptKey
from services.delivery.store.journal import Journal
from services.delivery.store.sandbox import SandboxStore

KEYS_MAX = 500

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Response = TypeVar("Response")
Method = Callable[["DeliveryService", Request, Context], Awaitable[Response]]


def map_errors(method: Method[Request, Response]) -> Method[Request, Response]:
    """Map errors to gRPC status codes."""

    @wraps(method)
    async def call(self: "DeliveryService", request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except ValueError as error:
            return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Unavailable as error:
            return await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error} is unavailable")

    return call


class DeliveryService(DeliveryServiceServicer):
    """system: the role for the journal of all tenants; tenant: for the captured mail of one."""

    def __init__(self, system: Database, tenant: Database, sandbox: SandboxStore) -> None:
        self._system = system
        self._tenant = tenant
        self._journal = Journal()
        self._sandbox = sandbox

    @map_errors
    async def GetAttempts(  # noqa: N802 - the contract's name
        self, request: pb.GetAttemptsRequest, context: Context
    ) -> pb.GetAttemptsResponse:
        if len(request.keys) > KEYS_MAX:
            raise ValueError(f"too many keys: {len(request.keys)}. Send at most {KEYS_MAX}.")
        keys = [AttemptKey(canonical_uuid(key.message_id), key.attempt) for key in request.keys]
        async with self._system.transaction() as tx:
            return pb.GetAttemptsResponse(attempts=await self._journal.find(tx, keys))

    @map_errors
    async def ListSandboxMessages(  # noqa: N802
        self, request: pb.ListSandboxMessagesRequest, context: Context
    ) -> pb.ListSandboxMessagesResponse:
        tenant_id = canonical_uuid(request.tenant_id)
        after, before = (one and canonical_uuid(one) for one in (request.after, request.before))
        async with self._tenant.transaction(tenant_id=tenant_id) as tx:
            found, more = await self._sandbox.list(
                tx,
                limit=request.limit,
                after=after,
                before=before,
                recipient=without_nul(request.recipient),
            )
        return pb.ListSandboxMessagesResponse(messages=found, has_more=more)

    @map_errors
    async def GetSandboxMessage(  # noqa: N802
        self, request: pb.GetSandboxMessageRequest, context: Context
    ) -> pb.GetSandboxMessageResponse:
        tenant_id, message_id = canonical_uuid(request.tenant_id), canonical_uuid(request.id)
        async with self._tenant.transaction(tenant_id=tenant_id) as tx:
            found = await self._sandbox.get(tx, message_id)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "sandbox message not found")
        return pb.GetSandboxMessageResponse(message=found)


def without_nul(text: str) -> str:
    """The text, if PostgreSQL can store it. Raises ValueError."""
    if "\0" in text:
        raise ValueError("recipient contains a NUL character")
    return text
