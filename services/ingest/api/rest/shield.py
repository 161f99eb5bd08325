"""/v1/shield/score: what the filter would say. A dry run: nothing is stored, nothing is sent."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreRequest, ScoreResponse
from kernel import clock
from services.ingest.api.http import body_of
from services.ingest.api.resource import PROBLEMS, Admission, request_of, said, shape
from services.ingest.api.sending import Sending, aside
from services.ingest.clients import Others
from services.ingest.domain.email import Email

DEADLINE_S = 2.0  # a large email takes its time


def routes(admission: Admission, sending: Sending, others: Others) -> APIRouter:
    router = APIRouter(prefix="/v1/shield", tags=["shield"], responses=PROBLEMS)
    asked = others.shield

    @router.post("/score", openapi_extra=shape(Email, "an email"), summary="Score an email")
    async def score(incoming: Incoming) -> Response:
        caller = await admission.caller(incoming)
        request = request_of(incoming)
        request.check_json()
        body = await body_of(request, incoming.receive)
        draft = await aside(body, lambda: sending.read(body, test=True))
        draft.content.date_s = int(clock.now().timestamp())
        asking = ScoreRequest(tenant_id=caller.tenant_id, content=draft.content)
        answer = await asked.ask(asked.stub.Score, asking, deadline_s=DEADLINE_S)
        return said(shown(answer))

    return router


def shown(answer: ScoreResponse) -> dict[str, object]:
    return {
        "object": "score",
        "verdict": Verdict.Name(answer.verdict).removeprefix("VERDICT_").lower(),
        "score": answer.score,
        "reasons": [
            {"rule": one.rule, "score": one.score, "detail": one.detail} for one in answer.reasons
        ],
        "hold_score": answer.hold_score,
        "block_score": answer.block_score,
        "rules_version": answer.rules_version,
    }
