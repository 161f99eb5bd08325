"""The RPCs of the router about egress sources and overrides."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policies_pb2 import OverrideSet, PolicyCommand, StandingChanged
from services.ingest.clients import ServiceClients

DEADLINE_S = 10.0  # of a large installation, all of whose limits are read
R = TypeVar("R", bound=Message)


class EgressRouterClient:
    """Raises Problem for everything that it refuses."""

    def __init__(self, clients: ServiceClients) -> None:
        self._policies, self._egress = clients.policies, clients.egress
        self.stub = clients.egress.stub

    async def sources(self) -> Sequence[pb.Source]:
        return (await self._call(self._policies.stub.ListSources, pb.ListSourcesRequest())).sources

    async def overrides(self) -> Sequence[OverrideSet]:
        """Those in force."""
        request = pb.ListOverridesRequest()
        return (await self._call(self._policies.stub.ListOverrides, request)).overrides

    async def standings(self) -> Sequence[StandingChanged]:
        """Without those that are good."""
        request = pb.ListStandingsRequest()
        return (await self._call(self._policies.stub.ListStandings, request)).standings

    async def execute(self, command: PolicyCommand) -> None:
        await self._call(self._policies.stub.Execute, pb.ExecuteRequest(command=command))

    async def change(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        """method: of `stub`."""
        return await self._egress.call(method, request, deadline_s=DEADLINE_S)

    async def _call(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        return await self._policies.call(method, request, deadline_s=DEADLINE_S)
