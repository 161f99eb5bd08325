"""The RPCs of the router about egress sources, pools, limits and overrides."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

from google.protobuf.message import Message

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import Pool
from contracts.router.v1.policies_pb2 import OverrideSet, PolicyCommand, StandingChanged
from services.ingest.clients import ServiceClients
from services.ingest.domain.problem import Fault, Problem, invalid

DEADLINE_S = 10.0  # of a large installation, all of whose limits are read
R = TypeVar("R", bound=Message)


class EgressRouterClient:
    """Raises Problem for everything that it refuses."""

    def __init__(self, clients: ServiceClients) -> None:
        self._policies, self._egress = clients.policies, clients.egress
        self.stub = clients.egress.stub
        self.policies = clients.policies.stub

    async def sources(self, request: pb.ListSourcesRequest) -> tuple[Sequence[pb.Source], bool]:
        """A page, and whether more follows."""
        response = await self.policy(self.policies.ListSources, request)
        return response.sources, response.has_more

    async def source(self, egress_id: str = "", *, address: str = "") -> pb.Source | None:
        """The source with this id or address; it may be removed and have messages in flight."""
        request = pb.ListSourcesRequest(egress_id=egress_id, address=address)
        found, _ = await self.sources(request)
        return next(iter(found), None)

    async def pools(self) -> Sequence[Pool]:
        return (await self.policy(self.policies.ListPools, pb.ListPoolsRequest())).pools

    async def limits(self, request: pb.ListLimitsRequest) -> tuple[Sequence[pb.LimitUsage], bool]:
        """A page, and whether more follows."""
        response = await self.policy(self.policies.ListLimits, request)
        return response.limits, response.has_more

    async def overrides(self) -> Sequence[OverrideSet]:
        """Those in force."""
        request = pb.ListOverridesRequest()
        return (await self.policy(self.policies.ListOverrides, request)).overrides

    async def standings(self) -> Sequence[StandingChanged]:
        """Without those that are good."""
        request = pb.ListStandingsRequest()
        return (await self.policy(self.policies.ListStandings, request)).standings

    async def execute(self, command: PolicyCommand) -> pb.ExecuteResponse:
        return await self.policy(self.policies.Execute, pb.ExecuteRequest(command=command))

    async def resume_waiting(self, tenant_id: str) -> None:
        """The waiting mail of a tenant that is paused for its bounces or complaints."""
        await self.execute(PolicyCommand(resume_tenant_id=tenant_id))

    async def change(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        """method: of `stub`."""
        return await self._egress.call(method, request, deadline_s=DEADLINE_S)

    async def policy(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        """method: of `policies`."""
        return await self._policies.call(method, request, deadline_s=DEADLINE_S)


@contextmanager
def pointing_to(pointer: str) -> Iterator[None]:
    """What the router finds invalid is this field."""
    try:
        yield
    except Problem as problem:
        if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        raise invalid([Fault(pointer, "invalid", problem.detail)]) from problem
