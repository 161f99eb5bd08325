"""Client of delivery's journal: the records of assignments without an attempt result."""

from collections.abc import Sequence

from contracts.delivery.v1.delivery_service_pb2 import (
    AttemptKey,
    AttemptRecord,
    GetAttemptsRequest,
)
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.rpc import RpcClient
from kernel.rpc_tls import RpcTls

DEADLINE_S = 2.0  # only the audit calls, and no client waits for it


class JournalClient:
    def __init__(self, address: str, token: str, tls: RpcTls | None = None) -> None:
        self._client = RpcClient("delivery", address, token, tls=tls)
        self._stub = DeliveryServiceStub(self._client.channel)

    async def get_attempts(self, keys: Sequence[tuple[str, int]]) -> dict[str, AttemptRecord]:
        """The known records, by message id. Raises rpc.RpcUnavailable and rpc.RpcError."""
        request = GetAttemptsRequest(
            keys=[
                AttemptKey(message_id=message_id, attempt=attempt) for message_id, attempt in keys
            ]
        )
        response = await self._client.call(self._stub.GetAttempts, request, deadline_s=DEADLINE_S)
        return {record.key.message_id: record for record in response.attempts}

    async def close(self) -> None:
        await self._client.close()
