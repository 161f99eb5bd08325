"""/v1/suppressions: addresses that are not written to; the router owns them."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response
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
from services.ingest.api.gate import Caller
from services.ingest.api.resource import (
    PROBLEMS,
    Admission,
    Page,
    body,
    deleted,
    listed,
    moment,
    page,
    said,
    shape,
)
from services.ingest.clients import Others
from services.ingest.domain.email import Strict
from services.ingest.domain.problem import Fault, invalid, not_found

Many = Annotated[list[str], Meta(min_length=1, max_length=500)]
ORIGINS = {"hard_bounce": "bounce"}  # Resend's word


class NewSuppression(Strict):
    """An address that is not to be written to."""

    email: str


class Addresses(Strict):
    """Addresses that are not to be written to."""

    emails: Many


class Which(Strict):
    """By address or by id."""

    emails: Many | None = None
    ids: Many | None = None


decode_one = msgspec.json.Decoder(NewSuppression).decode
decode_many = msgspec.json.Decoder(Addresses).decode
decode_which = msgspec.json.Decoder(Which).decode


class Suppressions:
    def __init__(self, others: Others) -> None:
        self._router = others.router

    async def add(self, caller: Caller, emails: list[str], pointer: str) -> list[Suppression]:
        request = AddSuppressionsRequest(
            tenant_id=caller.tenant_id,
            addresses=canonical(emails, pointer),
            origin="manual",
        )
        stub = self._router.stub
        answer = await self._router.ask(stub.AddSuppressions, request, deadline_s=2.0)
        return list(answer.suppressions)

    async def remove(self, caller: Caller, which: list[str]) -> list[Suppression]:
        request = RemoveSuppressionsRequest(
            tenant_id=caller.tenant_id, addresses=map(as_added, which)
        )
        stub = self._router.stub
        answer = await self._router.ask(stub.RemoveSuppressions, request, deadline_s=2.0)
        return list(answer.removed)

    async def list(
        self, caller: Caller, which: Page, *, email: str = ""
    ) -> tuple[list[Suppression], bool]:
        request = ListSuppressionsRequest(
            tenant_id=caller.tenant_id, limit=which.limit, after=which.after,
            before=which.before, address=as_added(email),
        )  # fmt: skip
        answer = await self._router.ask(self._router.stub.ListSuppressions, request)
        return list(answer.suppressions), answer.has_more


def routes(admission: Admission, others: Others) -> APIRouter:
    router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], responses=PROBLEMS)
    suppressions = Suppressions(others)
    _add_one(router, admission, suppressions)
    _add_many(router, admission, suppressions)
    return router


def _add_one(router: APIRouter, admission: Admission, suppressions: Suppressions) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=shape(NewSuppression, "an address"),
        summary="Suppress an address",
    )
    async def add(incoming: Incoming) -> Response:
        """An address that is suppressed already is no error."""
        caller = await live(admission, incoming)
        new = await body(incoming, decode_one)
        [added] = await suppressions.add(caller, [new.email], "#/email")
        return said(shown(added), 201)

    @router.get("", summary="List suppressions")
    async def list_suppressions(
        incoming: Incoming,
        *,
        which: Annotated[Page, Depends(page)],
        email: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        caller = await live(admission, incoming)
        found, has_more = await suppressions.list(caller, which, email=email)
        return listed(map(shown, found), has_more=has_more)

    @router.get("/{email}", summary="Is this address suppressed?")
    async def get(incoming: Incoming, email: str) -> Response:
        caller = await live(admission, incoming)
        found, _ = await suppressions.list(caller, Page(1, "", ""), email=email)
        if not found:
            raise not_found("the suppression")
        return said(shown(found[0]))

    @router.delete("/{email}", summary="Write to an address, or that of an id, again")
    async def delete(incoming: Incoming, email: str) -> Response:
        caller = await live(admission, incoming)
        removed = await suppressions.remove(caller, [email])
        if not removed:
            raise not_found("the suppression")
        return deleted("suppression", removed[0].id)


def _add_many(router: APIRouter, admission: Admission, suppressions: Suppressions) -> None:
    @router.post(
        "/batch/add",
        status_code=201,
        openapi_extra=shape(Addresses, "up to 500 addresses"),
        summary="Suppress addresses",
    )
    async def add_many(incoming: Incoming) -> Response:
        caller = await live(admission, incoming)
        new = await body(incoming, decode_many)
        added = await suppressions.add(caller, new.emails, "#/emails")
        return said({"data": [{"object": "suppression", "id": one.id} for one in added]}, 201)

    @router.post(
        "/batch/remove",
        openapi_extra=shape(Which, "up to 500 addresses or ids"),
        summary="Write to addresses again",
    )
    async def remove_many(incoming: Incoming) -> Response:
        """Those that were suppressed are in the answer, the others are not."""
        caller = await live(admission, incoming)
        which = await body(incoming, decode_which)
        given = [*(which.emails or ()), *(which.ids or ())]
        if not given or (which.emails and which.ids):
            raise invalid([Fault("#", "invalid", "give emails or ids, one of them")])
        removed = await suppressions.remove(caller, given)
        return said(
            {"data": [{"object": "suppression", "id": o.id, "deleted": True} for o in removed]}
        )


async def live(admission: Admission, incoming: Incoming) -> Caller:
    """Test mail neither fills the list nor minds it. Raises Problem."""
    caller = await admission.caller(incoming)
    caller.check_live("suppressions")
    return caller


def canonical(emails: list[str], pointer: str) -> list[str]:
    """Raises Problem."""
    found, faults = [], []
    for index, text in enumerate(emails):
        try:
            found.append(address.canonical(address.parse(text)).address)
        except AddressError as error:
            at = pointer if pointer == "#/email" else f"{pointer}/{index}"
            faults.append(Fault(at, "invalid_address", f"{text[:80]}: {error}"))
    if faults:
        raise invalid(faults)
    return found


def as_added(text: str) -> str:
    """An address as it was spelled when it was added; what is none, an id perhaps, as it is."""
    try:
        return address.canonical(address.parse(text)).address if "@" in text else text
    except AddressError:
        return text


def shown(one: Suppression) -> dict[str, object]:
    return {
        "object": "suppression",
        "id": one.id,
        "email": one.address,
        "origin": ORIGINS.get(one.origin, one.origin),
        "source_id": one.source_id or None,
        "created_at": moment(one.created_at),
    }
