"""The score that shield would give an email, and the models. Nothing is stored or sent."""

from collections.abc import Sequence
from operator import attrgetter

from contracts.shield.v1.events_pb2 import ScreeningModel, Verdict
from contracts.shield.v1.shield_service_pb2 import (
    ListModelsRequest,
    ScoreRequest,
    ScoreResponse,
)
from kernel import clock
from services.ingest.api.access import Principal
from services.ingest.api.administration.base import paginate
from services.ingest.api.held import reasons_to_json
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.valid_email import ValidEmail
from services.ingest.store.directory_lists import Page

DEADLINE_S = 2.0  # a large email takes longer


class Scoring:
    def __init__(self, clients: ServiceClients) -> None:
        self._shield = clients.shield

    async def score(self, principal: Principal, email: ValidEmail) -> ScoreResponse:
        """Raises Problem."""
        email.content.date_s = int(clock.now().timestamp())
        request = ScoreRequest(tenant_id=principal.tenant_id, content=email.content)
        return await self._shield.call(self._shield.stub.Score, request, deadline_s=DEADLINE_S)

    async def models(self, page: Page) -> tuple[Sequence[ScreeningModel], bool]:
        """Those that screen messages, or have, by version in descending order; and whether more
        follow. Raises Problem."""
        response = await self._shield.call(self._shield.stub.ListModels, ListModelsRequest())
        return paginate(response.models, page, id_of=attrgetter("model_version"))


def model_to_json(model: ScreeningModel) -> dict[str, object]:
    return {
        "object": "screening_model",
        "id": model.model_version,
        "role": "shadow" if model.shadow else "live",
        "rules_version": model.rules_version,
        "first_started_at": format_timestamp(model.first_started_at),
        "last_started_at": format_timestamp(model.last_started_at),
    }


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
