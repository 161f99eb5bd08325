"""The RPC server: a dry run of screening."""

from dataclasses import dataclass

import grpc
import grpc.aio

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.shield.v1.shield_service_pb2 import ScoreRequest, ScoreResponse
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceServicer
from kernel.child import ChildRaised
from kernel.errors import Unavailable
from kernel.table import ReplicatedTable
from services.shield.clients import ScreeningChild
from services.shield.clients.link_lists import LinkLists
from services.shield.domain.scoring import thresholds_of_tenant
from services.shield.domain.screening import Extra, encode_request


@dataclass(frozen=True, slots=True)
class ShieldServicer(ShieldServiceServicer):
    """Nothing is stored or sent. An unknown tenant has the default thresholds.

    screening_child: not that of the consumer, so that dry runs do not delay it.
    """

    screening_child: ScreeningChild
    tenants: ReplicatedTable[Tenant]
    link_lists: LinkLists | None = None

    @property
    def extra(self) -> Extra:
        return Extra.REASONS | (Extra.HOSTS if self.link_lists else Extra.NONE)

    async def Score(  # noqa: N802 - the contract's name
        self, request: ScoreRequest, context: grpc.aio.ServicerContext[ScoreRequest, ScoreResponse]
    ) -> ScoreResponse:
        tenant = self.tenants.get(request.tenant_id) or Tenant()
        thresholds = self.screening_child.thresholds
        limits = thresholds_of_tenant(tenant.hold_score, tenant.block_score, thresholds)
        encoded = encode_request(request.content.SerializeToString(), limits, self.extra)
        try:
            [response] = await self.screening_child.screen([encoded])
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error} is unavailable")
        if isinstance(response, ChildRaised):
            await context.abort(grpc.StatusCode.INTERNAL, "scoring failed")
        if self.link_lists:
            await self.link_lists.weigh([response], with_reasons=True)
        return response
