"""Checks of egress hosts by delivery, which has their token and connects to them."""

from collections.abc import Sequence

from contracts.delivery.v1.delivery_service_pb2 import CheckEgressHostsRequest, HostedAddress
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.rpc import RpcClient
from kernel.rpc_tls import RpcTls

DEADLINE_S = 30.0  # longer than delivery's timeout for a login


class EgressHostClient:
    def __init__(self, address: str, token: str, tls: RpcTls | None = None) -> None:
        self._client = RpcClient("delivery", address, token, tls=tls)
        self._stub = DeliveryServiceStub(self._client.channel)

    async def check(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """The problem of each host and address; empty if there is none. Raises rpc.RpcUnavailable
        and rpc.RpcError."""
        hosted = [HostedAddress(egress_host=host, address=address) for host, address in pairs]
        request = CheckEgressHostsRequest(addresses=hosted)
        check = self._stub.CheckEgressHosts
        return list((await self._client.call(check, request, deadline_s=DEADLINE_S)).problems)

    async def close(self) -> None:
        await self._client.close()
