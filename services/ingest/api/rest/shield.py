"""/v1/shield/score: the score that shield would give an email. Nothing is stored or sent."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreRequest, ScoreResponse
from kernel import clock
from services.ingest.api.http import read_body
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RestAccess,
    body_schema,
    json_response,
    request_of,
)
from services.ingest.api.sending import SendHandler, in_thread_if_large
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import SendEmailRequest

DEADLINE_S = 2.0  # a large email takes longer


def routes(access: RestAccess, send_handler: SendHandler, clients: ServiceClients) -> APIRouter:
    router = APIRouter(prefix="/v1/shield", tags=["shield"], responses=PROBLEM_RESPONSES)
    client = clients.shield

    @router.post(
        "/score", openapi_extra=body_schema(SendEmailRequest, "an email"), summary="Score an email"
    )
    async def score(incoming: Incoming) -> Response:
        principal = await access.authenticate(incoming)
        request = request_of(incoming)
        request.check_json()
        body = await read_body(request, incoming.receive)
        email = await in_thread_if_large(body, lambda: send_handler.read_email(body, test=True))
        email.content.date_s = int(clock.now().timestamp())
        score_request = ScoreRequest(tenant_id=principal.tenant_id, content=email.content)
        response = await client.call(client.stub.Score, score_request, deadline_s=DEADLINE_S)
        return json_response(to_json(response))

    return router


def to_json(response: ScoreResponse) -> dict[str, object]:
    return {
        "object": "score",
        "verdict": Verdict.Name(response.verdict).removeprefix("VERDICT_").lower(),
        "score": response.score,
        "reasons": [
            {"rule": one.rule, "score": one.score, "detail": one.detail} for one in response.reasons
        ],
        "hold_score": response.hold_score,
        "block_score": response.block_score,
        "rules_version": response.rules_version,
    }
