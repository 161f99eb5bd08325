"""/v1/cells: sets of pools that the router schedules apart. For operators."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.egress.cells import CellResource, CreateCellRequest, cell_to_json
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

decode_cell = msgspec.json.Decoder(CreateCellRequest).decode


def routes(access: RestAccess, cells: CellResource) -> APIRouter:
    router = APIRouter(prefix="/v1/cells", tags=["pools"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the cells")
    async def list_cells(incoming: Incoming, *, requested_page: RequestedForwardPage) -> Response:
        """By name, in descending order."""
        await access.authenticate_caller(incoming)
        found, has_more = await cells.page(page_of(requested_page))
        return list_response(map(cell_to_json, found), has_more=has_more)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateCellRequest, "a cell"),
        summary="Create a cell",
    )
    async def create(incoming: Incoming) -> Response:
        """Limits of a receiving site, and of all mail, are divided among the cells from now on.
        A cell cannot be deleted."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_cell)
        return json_response(cell_to_json(await cells.create(caller, given)), 201)

    return router
