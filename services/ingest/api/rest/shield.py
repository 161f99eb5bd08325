"""/v1/shield/score: the score that shield would give an email. Nothing is stored or sent."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.http import read_body
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RestAccess,
    body_schema,
    json_response,
    request_of,
)
from services.ingest.api.scoring import ScoringResource, score_to_json
from services.ingest.api.sending import SendHandler, in_thread_if_large
from services.ingest.domain.email import SendEmailRequest


def routes(access: RestAccess, send_handler: SendHandler, scoring: ScoringResource) -> APIRouter:
    router = APIRouter(prefix="/v1/shield", tags=["shield"], responses=PROBLEM_RESPONSES)

    @router.post(
        "/score", openapi_extra=body_schema(SendEmailRequest, "an email"), summary="Score an email"
    )
    async def score(incoming: Incoming) -> Response:
        principal = await access.authenticate(incoming)
        request = request_of(incoming)
        request.check_json()
        body = await read_body(request, incoming.receive)
        email = await in_thread_if_large(body, lambda: send_handler.read_email(body, test=True))
        return json_response(score_to_json(await scoring.score(principal, email)))

    return router
