"""Delivery's journal: what became of an assignment that was never answered."""

from collections.abc import Sequence

from contracts.delivery.v1.delivery_service_pb2 import (
    AttemptKey,
    AttemptRecord,
    GetAttemptsRequest,
)
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.rpc import RpcClient

DEADLINE_S = 2.0  # no client waits: the audit calls


class JournalClient:
    def __init__(self, address: str, token: str) -> None:
        self._peer = RpcClient("delivery", address, token)
        self._stub = DeliveryServiceStub(self._peer.channel)

    async def attempts(self, keys: Sequence[tuple[str, int]]) -> dict[str, AttemptRecord]:
        """By message id; those that are unknown are missing. Raises rpc.RpcUnavailable and
        rpc.RpcError."""
        request = GetAttemptsRequest(
            keys=[
                AttemptKey(message_id=message_id, attempt=attempt) for message_id, attempt in keys
            ]
        )
        answer = await self._peer.call(self._stub.GetAttempts, request, deadline_s=DEADLINE_S)
        return {record.key.message_id: record for record in answer.attempts}

    async def close(self) -> None:
        await self._peer.close()
