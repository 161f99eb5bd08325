"""/v1/shield/models and /v1/shield/versions: what screens messages, for operators."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.models import (
    ModelResource,
    ReviewVersionRequest,
    model_to_json,
    version_to_json,
)
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    json_response,
    list_response,
    page_of,
)

decode_review = msgspec.json.Decoder(ReviewVersionRequest).decode


def routes(access: RestAccess, models: ModelResource) -> APIRouter:
    router = APIRouter(prefix="/v1/shield", tags=["shield"], responses=PROBLEM_RESPONSES)

    @router.get("/models", summary="List the models that screen messages, or have")
    async def list_models(incoming: Incoming, *, requested_page: RequestedForwardPage) -> Response:
        """By version, in descending order. A model in the role `shadow` decides nothing."""
        await access.authenticate_caller(incoming)
        found, has_more = await models.page(page_of(requested_page))
        return list_response(map(model_to_json, found), has_more=has_more)

    @router.get("/versions", summary="List the versions of what was learned")
    async def list_versions(
        incoming: Incoming, *, requested_page: RequestedForwardPage
    ) -> Response:
        """Newest first. A version scores beside the live one, in the role `shadow`, until it is
        promoted."""
        await access.authenticate_caller(incoming)
        found, has_more = await models.versions(page_of(requested_page))
        return list_response(map(version_to_json, found), has_more=has_more)

    _add_reviews(router, access, models)
    return router


def _add_reviews(router: APIRouter, access: RestAccess, models: ModelResource) -> None:
    async def review(incoming: Incoming, version_id: str, *, promoted: bool) -> Response:
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_review)
        found = await models.review(caller, version_id, given, promoted=promoted)
        return json_response(version_to_json(found))

    schema = body_schema(ReviewVersionRequest, "Why")

    @router.post(
        "/versions/{version_id}/promote", openapi_extra=schema, summary="Promote a version early"
    )
    async def promote(incoming: Incoming, version_id: str) -> Response:
        """Screens with the version that scores beside the live one, within seconds. Returns it as
        it was. 409 for another one."""
        return await review(incoming, version_id, promoted=True)

    @router.post(
        "/versions/{version_id}/withdraw", openapi_extra=schema, summary="Withdraw a version"
    )
    async def withdraw(incoming: Incoming, version_id: str) -> Response:
        """Uses the live version no more, but the one before, within seconds; or does not use the
        one beside it. Returns it as it was. 409 if it is neither."""
        return await review(incoming, version_id, promoted=False)
