"""Suppressed addresses, for REST and gRPC. The router owns them."""

from typing import Annotated

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
from services.ingest.api.callers import Caller, check_live
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, invalid, not_found
from services.ingest.store.directory_lists import Page

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


class Suppressions:
    """They exist for live mail only: a test key is refused with Problem 403."""

    def __init__(self, clients: ServiceClients) -> None:
        self._router = clients.router

    async def add(self, principal: Principal, emails: list[str], pointer: str) -> list[Suppression]:
        check_live(principal.key, "suppressions")
        request = AddSuppressionsRequest(
            tenant_id=principal.tenant_id,
            addresses=canonical_address(emails, pointer),
            origin="manual",
            account_id=principal.tenant.account_id,
        )
        stub = self._router.stub
        response = await self._router.call(stub.AddSuppressions, request, deadline_s=2.0)
        return list(response.suppressions)

    async def page(
        self, caller: Caller, page: Page, *, email: str
    ) -> tuple[list[Suppression], bool]:
        """Of a tenant, or of all tenants of an account. email: only those of this address, if it is
        not empty."""
        check_live(caller.key, "suppressions")
        request = ListSuppressionsRequest(
            **caller.owner._asdict(), **page._asdict(), address=canonical_or_same(email)
        )
        response = await self._router.call(self._router.stub.ListSuppressions, request)
        return list(response.suppressions), response.has_more

    async def get(self, principal: Principal, email: str) -> Suppression:
        """Raises Problem 404."""
        found, _ = await self.page(principal.caller, Page(1), email=email)
        if not email or not found:
            raise not_found("the suppression")
        return found[0]

    async def remove_one(self, principal: Principal, identifier: str) -> Suppression:
        """identifier: the address or the id. Raises Problem 404."""
        removed = await self._remove(principal, [identifier])
        if not removed:
            raise not_found("the suppression")
        return removed[0]

    async def remove(self, principal: Principal, which: SuppressionSelector) -> list[Suppression]:
        """Those that were suppressed. Raises Problem."""
        given = [*(which.emails or ()), *(which.ids or ())]
        if not given or (which.emails and which.ids):
            detail = "The request has neither emails nor ids, or both. Use one of them."
            raise invalid([Fault("#", "invalid", detail)])
        return await self._remove(principal, given)

    async def _remove(self, principal: Principal, identifiers: list[str]) -> list[Suppression]:
        check_live(principal.key, "suppressions")
        request = RemoveSuppressionsRequest(
            tenant_id=principal.tenant_id, addresses=map(canonical_or_same, identifiers)
        )
        stub = self._router.stub
        response = await self._router.call(stub.RemoveSuppressions, request, deadline_s=2.0)
        return list(response.removed)


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
        "tenant_id": one.tenant_id,
        "email": one.address,
        "origin": ORIGINS.get(one.origin, one.origin),
        "source_id": one.source_id or None,
        "created_at": format_timestamp(one.created_at),
    }
