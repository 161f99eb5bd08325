"""The door for connections: a dry run by gRPC."""

from dataclasses import dataclass

import grpc.aio

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.shield.v1.shield_service_pb2 import ScoreRequest, ScoreResponse
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceServicer
from kernel.table import Table
from services.shield.domain.scoring import Scorer, of_tenant


@dataclass(frozen=True, slots=True)
class ShieldApi(ShieldServiceServicer):
    """Nothing is stored, nothing is sent. A tenant that is not known has the default thresholds."""

    scorer: Scorer
    tenants: Table[Tenant]

    async def Score(  # noqa: N802 - the contract's name
        self, request: ScoreRequest, _: grpc.aio.ServicerContext[ScoreRequest, ScoreResponse]
    ) -> ScoreResponse:
        tenant = self.tenants.get(request.tenant_id) or Tenant()
        limits = of_tenant(tenant.hold_score, tenant.block_score, self.scorer.book.thresholds)
        opinion = self.scorer.score(request.content, thresholds=limits, quote=True)
        return ScoreResponse(
            verdict=opinion.verdict,
            score=opinion.score,
            reasons=opinion.reasons,
            hold_score=limits.hold,
            block_score=limits.block,
            rules_version=self.scorer.book.version,
        )
