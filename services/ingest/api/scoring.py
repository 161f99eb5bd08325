"""The score that shield would give an email. Nothing is stored or sent."""

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreRequest, ScoreResponse
from kernel import clock
from services.ingest.api.access import Principal
from services.ingest.api.held import reasons_to_json
from services.ingest.clients import ServiceClients
from services.ingest.domain.valid_email import ValidEmail

DEADLINE_S = 2.0  # a large email takes longer


class ScoringResource:
    def __init__(self, clients: ServiceClients) -> None:
        self._shield = clients.shield

    async def score(self, principal: Principal, email: ValidEmail) -> ScoreResponse:
        """Raises Problem."""
        email.content.date_s = int(clock.now().timestamp())
        request = ScoreRequest(tenant_id=principal.tenant_id, content=email.content)
        return await self._shield.call(self._shield.stub.Score, request, deadline_s=DEADLINE_S)


def score_to_json(response: ScoreResponse) -> dict[str, object]:
    return {
        "object": "score",
        "verdict": Verdict.Name(response.verdict).removeprefix("VERDICT_").lower(),
        "score": response.score,
        "reasons": reasons_to_json(response.reasons),
        "hold_score": response.hold_score,
        "block_score": response.block_score,
        "rules_version": response.rules_version,
        "model_version": response.model_version,
    }
