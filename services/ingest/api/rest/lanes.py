"""/v1/lanes: what waits, for which site, until when, and what decides that."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi import Request as Incoming

from contracts.router.v1.router_service_pb2 import Lane, ListLanesRequest
from services.ingest.api.resource import PROBLEMS, Admission, Page, listed, moment, onward
from services.ingest.clients import Others


def routes(admission: Admission, others: Others) -> APIRouter:
    router = APIRouter(prefix="/v1/lanes", tags=["lanes"], responses=PROBLEMS)
    asked = others.router

    @router.get("", summary="List lanes with their binding constraint")
    async def list_lanes(
        incoming: Incoming, *, which: Annotated[Page, Depends(onward)]
    ) -> Response:
        caller = await admission.caller(incoming)
        request = ListLanesRequest(
            tenant_id=caller.tenant_id,
            limit=which.limit,
            after=which.after,
            test_only=caller.test,
        )
        answer = await asked.ask(asked.stub.ListLanes, request)
        return listed(map(shown, answer.lanes), has_more=answer.has_more)

    return router


def shown(lane: Lane) -> dict[str, object]:
    return {
        "object": "lane",
        "id": lane.lane,
        "site": lane.site,
        "next_at": moment(lane.next_at),
        "binding": lane.binding or None,
        "waiting": lane.waiting,
    }
