"""/v1/suppressions: suppressed addresses."""

from typing import Annotated, TypeAlias

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)
from services.ingest.api.suppressions import (
    AddSuppressionRequest,
    AddSuppressionsRequest,
    ListSuppressionsRequest,
    Origin,
    SuppressionResource,
    SuppressionSelector,
    to_json,
)

Text: TypeAlias = Annotated[str, Query(max_length=400)]
OfList: TypeAlias = Annotated[
    str, Query(max_length=200, description="The suppression for this list")
]
Force: TypeAlias = Annotated[bool, Query(description="Also that of a complaint")]

decode_one = msgspec.json.Decoder(AddSuppressionRequest).decode
decode_many = msgspec.json.Decoder(AddSuppressionsRequest).decode
decode_selector = msgspec.json.Decoder(SuppressionSelector).decode


def routes(access: RestAccess, suppressions: SuppressionResource) -> APIRouter:
    router = APIRouter(
        prefix="/v1/suppressions", tags=["suppressions"], responses=PROBLEM_RESPONSES
    )
    _add_list(router, access, suppressions)
    _add_one(router, access, suppressions)
    _get_or_delete(router, access, suppressions)
    _add_many(router, access, suppressions)
    return router


def parse_filter(
    *,
    email: Text = "",
    origin: Annotated[Origin | None, Query()] = None,
    domain: Annotated[str, Query(max_length=400, description="Of the addresses")] = "",
    list: Annotated[str, Query(max_length=200)] = "",  # noqa: A002 - the name in the API
    since: str = "",
    expired: Annotated[bool, Query(description="Also those that have expired lately")] = False,
) -> ListSuppressionsRequest:
    """A dependency of the list."""
    return ListSuppressionsRequest(
        email=email, origin=origin, domain=domain, list=list, since=since, expired=expired
    )


def _add_list(router: APIRouter, access: RestAccess, suppressions: SuppressionResource) -> None:
    @router.get("", summary="List suppressions")
    async def list_suppressions(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        wanted: Annotated[ListSuppressionsRequest, Depends(parse_filter)],
    ) -> Response:
        """Newest first; without `X-Tenant-Id`, those of an account and of all its tenants."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await suppressions.page(caller, page_of(requested_page), wanted)
        return list_response(map(to_json, found), has_more=has_more)


def _add_one(router: APIRouter, access: RestAccess, suppressions: SuppressionResource) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(AddSuppressionRequest, "an address"),
        summary="Suppress an address",
    )
    async def add(incoming: Incoming) -> Response:
        """If it is suppressed already, the stronger origin is kept: `complaint`, then `bounce`,
        `manual`. An `unsubscribe` is kept beside them; the address still gets transactional
        mail."""
        caller = await access.authenticate_caller(incoming)
        new = await decode_request_body(incoming, decode_one)
        [added] = await suppressions.add(caller, [new.email], new, pointer="#/email")
        return json_response(to_json(added), 201)


def _get_or_delete(
    router: APIRouter, access: RestAccess, suppressions: SuppressionResource
) -> None:
    @router.get("/{email}", summary="Get a suppression, by address or id")
    async def get(
        incoming: Incoming,
        email: str,
        *,
        list: OfList = "",  # noqa: A002 - the name in the API
    ) -> Response:
        """Without `X-Tenant-Id`, that of an account. If an address has two, the one that is no
        `unsubscribe`."""
        caller = await access.authenticate_caller(incoming)
        return json_response(to_json(await suppressions.get(caller, email, of_list=list)))

    @router.delete("/{email}", summary="Remove a suppression, by address or id")
    async def delete(
        incoming: Incoming,
        email: str,
        *,
        list: OfList = "",  # noqa: A002 - the name in the API
        force: Force = False,
    ) -> Response:
        """That of a complaint is removed by `force` alone; otherwise the response is 409
        `address_suppressed_by_complaint`. Without `X-Tenant-Id`, that of an account. By address,
        its `unsubscribe` is removed too; by id, that suppression alone."""
        caller = await access.authenticate_caller(incoming)
        removed = await suppressions.remove_one(caller, email, of_list=list, force=force)
        return deleted_response("suppression", removed.id)


def _add_many(router: APIRouter, access: RestAccess, suppressions: SuppressionResource) -> None:
    @router.post(
        "/batch/add",
        status_code=201,
        openapi_extra=body_schema(AddSuppressionsRequest, "Up to 500 addresses"),
        summary="Suppress addresses",
    )
    async def add_many(incoming: Incoming) -> Response:
        caller = await access.authenticate_caller(incoming)
        new = await decode_request_body(incoming, decode_many)
        added = await suppressions.add(caller, new.emails, new, pointer="#/emails")
        return json_response(
            {"data": [{"object": "suppression", "id": one.id} for one in added]}, 201
        )

    @router.post(
        "/batch/remove",
        openapi_extra=body_schema(SuppressionSelector, "Up to 500 addresses or ids"),
        summary="Remove suppressions",
    )
    async def remove_many(incoming: Incoming) -> Response:
        """The response lists the suppressions that were removed: two of an address that has also
        unsubscribed. If one is of a complaint, `force` is needed, or none is removed."""
        caller = await access.authenticate_caller(incoming)
        which = await decode_request_body(incoming, decode_selector)
        removed = await suppressions.remove(caller, which)
        return json_response(
            {"data": [{"object": "suppression", "id": o.id, "deleted": True} for o in removed]}
        )
