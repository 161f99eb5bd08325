"""/v1/suppressions: suppressed addresses. The router owns them."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming
from msgspec import Meta

from contracts.router.v1.router_service_pb2 import (
    AddSuppressionsRequest,
    ListSuppressionsRequest,
    RemoveSuppressionsRequest,
    Suppression,
)
from mail import address
from mail.address import AddressError
from services.ingest.api.access import Principal
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    PageRequest,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_request_body,
    deleted_response,
    format_timestamp,
    json_response,
    list_response,
)
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, invalid, not_found

Many = Annotated[list[str], Meta(min_length=1, max_length=500)]
ORIGINS = {"hard_bounce": "bounce"}  # Resend's term


class NewSuppression(RequestModel):
    """An address to suppress."""

    email: str


class Addresses(RequestModel):
    """Addresses to suppress."""

    emails: Many


class SuppressionSelector(RequestModel):
    """Suppressions, by address or by id."""

    emails: Many | None = None
    ids: Many | None = None


decode_one = msgspec.json.Decoder(NewSuppression).decode
decode_many = msgspec.json.Decoder(Addresses).decode
decode_selector = msgspec.json.Decoder(SuppressionSelector).decode


class Suppressions:
    def __init__(self, clients: ServiceClients) -> None:
        self._router = clients.router

    async def add(self, principal: Principal, emails: list[str], pointer: str) -> list[Suppression]:
        request = AddSuppressionsRequest(
            tenant_id=principal.tenant_id,
            addresses=canonical_address(emails, pointer),
            origin="manual",
        )
        stub = self._router.stub
        response = await self._router.call(stub.AddSuppressions, request, deadline_s=2.0)
        return list(response.suppressions)

    async def remove(self, principal: Principal, identifiers: list[str]) -> list[Suppression]:
        request = RemoveSuppressionsRequest(
            tenant_id=principal.tenant_id, addresses=map(canonical_or_same, identifiers)
        )
        stub = self._router.stub
        response = await self._router.call(stub.RemoveSuppressions, request, deadline_s=2.0)
        return list(response.removed)

    async def list(
        self, principal: Principal, requested_page: PageRequest, *, email: str = ""
    ) -> tuple[list[Suppression], bool]:
        request = ListSuppressionsRequest(
            tenant_id=principal.tenant_id, limit=requested_page.limit, after=requested_page.after,
            before=requested_page.before, address=canonical_or_same(email),
        )  # fmt: skip
        response = await self._router.call(self._router.stub.ListSuppressions, request)
        return list(response.suppressions), response.has_more


def routes(access: RestAccess, clients: ServiceClients) -> APIRouter:
    router = APIRouter(
        prefix="/v1/suppressions", tags=["suppressions"], responses=PROBLEM_RESPONSES
    )
    suppressions = Suppressions(clients)
    _add_one(router, access, suppressions)
    _add_many(router, access, suppressions)
    return router


def _add_one(router: APIRouter, access: RestAccess, suppressions: Suppressions) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(NewSuppression, "an address"),
        summary="Suppress an address",
    )
    async def add(incoming: Incoming) -> Response:
        """Suppressing an address again has no effect."""
        principal = await authenticate_live(access, incoming)
        new = await decode_request_body(incoming, decode_one)
        [added] = await suppressions.add(principal, [new.email], "#/email")
        return json_response(to_json(added), 201)

    @router.get("", summary="List suppressions")
    async def list_suppressions(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        email: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        principal = await authenticate_live(access, incoming)
        found, has_more = await suppressions.list(principal, requested_page, email=email)
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{email}", summary="Get the suppression of an address")
    async def get(incoming: Incoming, email: str) -> Response:
        principal = await authenticate_live(access, incoming)
        found, _ = await suppressions.list(principal, PageRequest(1, "", ""), email=email)
        if not found:
            raise not_found("the suppression")
        return json_response(to_json(found[0]))

    @router.delete("/{email}", summary="Remove a suppression, by address or id")
    async def delete(incoming: Incoming, email: str) -> Response:
        principal = await authenticate_live(access, incoming)
        removed = await suppressions.remove(principal, [email])
        if not removed:
            raise not_found("the suppression")
        return deleted_response("suppression", removed[0].id)


def _add_many(router: APIRouter, access: RestAccess, suppressions: Suppressions) -> None:
    @router.post(
        "/batch/add",
        status_code=201,
        openapi_extra=body_schema(Addresses, "Up to 500 addresses"),
        summary="Suppress addresses",
    )
    async def add_many(incoming: Incoming) -> Response:
        principal = await authenticate_live(access, incoming)
        new = await decode_request_body(incoming, decode_many)
        added = await suppressions.add(principal, new.emails, "#/emails")
        return json_response(
            {"data": [{"object": "suppression", "id": one.id} for one in added]}, 201
        )

    @router.post(
        "/batch/remove",
        openapi_extra=body_schema(SuppressionSelector, "Up to 500 addresses or ids"),
        summary="Remove suppressions",
    )
    async def remove_many(incoming: Incoming) -> Response:
        """The response lists the addresses that were suppressed."""
        principal = await authenticate_live(access, incoming)
        which = await decode_request_body(incoming, decode_selector)
        given = [*(which.emails or ()), *(which.ids or ())]
        if not given or (which.emails and which.ids):
            raise invalid(
                [
                    Fault(
                        "#",
                        "invalid",
                        "The request has neither emails nor ids, or both. Use one of them.",
                    )
                ]
            )
        removed = await suppressions.remove(principal, given)
        return json_response(
            {"data": [{"object": "suppression", "id": o.id, "deleted": True} for o in removed]}
        )


async def authenticate_live(access: RestAccess, incoming: Incoming) -> Principal:
    """Suppressions exist for live mail only. Raises Problem."""
    principal = await access.authenticate(incoming)
    principal.check_live("suppressions")
    return principal


def canonical_address(emails: list[str], pointer: str) -> list[str]:
    """Raises Problem."""
    found, faults = [], []
    for index, text in enumerate(emails):
        try:
            found.append(address.canonical(address.parse_mailbox(text)).address)
        except AddressError as error:
            at = pointer if pointer == "#/email" else f"{pointer}/{index}"
            faults.append(Fault(at, "invalid_address", f"Invalid address {text[:80]}: {error}."))
    if faults:
        raise invalid(faults)
    return found


def canonical_or_same(text: str) -> str:
    """The canonical form of an address; other texts, such as ids, unchanged."""
    try:
        return address.canonical(address.parse_mailbox(text)).address if "@" in text else text
    except AddressError:
        return text


def to_json(one: Suppression) -> dict[str, object]:
    return {
        "object": "suppression",
        "id": one.id,
        "email": one.address,
        "origin": ORIGINS.get(one.origin, one.origin),
        "source_id": one.source_id or None,
        "created_at": format_timestamp(one.created_at),
    }
