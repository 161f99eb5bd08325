"""Suppressed addresses, for REST and gRPC. The router owns them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.router_service_pb2 import (
    RemoveSuppressionsRequest,
    RemoveSuppressionsResponse,
    Suppression,
)
from mail import address
from mail.address import AddressError
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.body_times import parse_future_time
from services.ingest.api.callers import TENANT_HEADER, Caller, CallerKind, check_live
from services.ingest.api.rest_base import format_timestamp, parse_time_parameter
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import ListName, RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.domain.suppression_file import Note, Reason
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import EntryOwner, PageBounds

Many = Annotated[list[str], Meta(min_length=1, max_length=500)]
ManyLines = Annotated[list[Annotated[str, Meta(pattern=LINE)]], Meta(min_length=1, max_length=500)]
Scope = Literal["tenant", "list", "account"]
Origin = Literal["bounce", "complaint", "manual", "unsubscribe"]
WHAT = "the suppression"
RESOURCE = "suppression"  # in the audit log
SAME_MAX = 2  # of an address, for a list or for all mail: an unsubscribe is kept beside another
COMPLAINT, UNSUBSCRIBE = "complaint", "unsubscribe"


class SuppressionFields(RequestModel):
    """What a suppression has besides its address. list: it stops only the broadcasts to this
    list. Without expires_at, it holds until it is removed."""

    scope: Scope = "tenant"
    list: ListName | None = None
    origin: Origin = "manual"
    reason: Reason = ""
    note: Note = ""
    expires_at: str | None = None


class AddSuppressionRequest(SuppressionFields, kw_only=True):
    """An address to suppress."""

    email: str


class AddSuppressionsRequest(SuppressionFields, kw_only=True):
    """Addresses to suppress; the other fields are those of each."""

    emails: Many


class SuppressionSelector(RequestModel):
    """Suppressions, by address or by id. list: those of these addresses for a list. force: also
    those of complaints."""

    emails: ManyLines | None = None
    ids: ManyLines | None = None
    list: ListName | None = None
    force: bool = False


class ListSuppressionsRequest(RequestModel):
    """What is empty does not restrict the list. expired: with those that have expired."""

    email: str = ""
    origin: Origin | None = None
    domain: str = ""
    list: str = ""
    since: str = ""
    expired: bool = False


class SuppressionResource:
    """Those of a tenant, and those of an account, which hold for all its tenants: the key of an
    account that names no tenant changes these. They exist for live mail only: a test key is refused
    with Problem 403."""

    def __init__(self, clients: ServiceClients, audit_log: AuditLogResource) -> None:
        self._router = clients.router
        self._audit_log = audit_log

    async def add(
        self, caller: Caller, emails: Sequence[str], given: SuppressionFields, *, pointer: str
    ) -> list[Suppression]:
        """In the order of the addresses."""
        check_live(caller.key, "suppressions")
        owner = owner_by_scope(caller, given.scope, of_list=given.list)
        expires_at = parse_future_time(given.expires_at, "expires_at")
        request = pb.AddSuppressionsRequest(
            **owner._asdict(),
            suppressions=[
                pb.NewSuppression(
                    address=one,
                    origin=given.origin,
                    list=given.list or "",
                    reason=given.reason,
                    note=given.note,
                    expires_at=expires_at,
                )
                for one in canonical_addresses(emails, pointer)
            ],
            added_by=caller.key.key_id,
        )
        stub = self._router.stub
        response = await self._router.call(stub.AddSuppressions, request, deadline_s=2.0)
        # Also what was there: a request that is repeated because ingest died has no entry yet.
        found = {one.id: one for one in response.suppressions if one.account_id}
        await self._record(caller, [(subject_of(caller, one), None, one) for one in found.values()])
        return list(response.suppressions)

    async def page(
        self, caller: Caller, page: PageBounds, wanted: ListSuppressionsRequest
    ) -> tuple[list[Suppression], bool]:
        """Of a tenant, or of an account and all its tenants."""
        check_live(caller.key, "suppressions")
        request = pb.ListSuppressionsRequest(
            **caller.owner._asdict(),
            **page._asdict(),
            address=canonical_or_same(wanted.email),
            origin=wanted.origin or "",
            domain=canonical_domain(wanted.domain),
            list=wanted.list or None,
            since=parse_time_parameter(wanted.since, "since"),
            expired=wanted.expired,
        )
        response = await self._router.call(self._router.stub.ListSuppressions, request)
        return list(response.suppressions), response.has_more

    async def get(self, caller: Caller, identifier: str, *, of_list: str = "") -> Suppression:
        """identifier: the address, for the strongest of its suppressions, or the id. Raises Problem
        404."""
        check_live(caller.key, "suppressions")
        request = pb.ListSuppressionsRequest(
            **caller.owner._asdict(), limit=SAME_MAX, account_wide=not caller.tenant_id
        )
        if "@" in identifier:
            request.address, request.list = canonical_or_same(identifier), of_list
        else:
            request.id = parse_id(identifier, WHAT)
        response = await self._router.call(self._router.stub.ListSuppressions, request)
        return strongest_of(response.suppressions)

    async def remove_one(
        self, caller: Caller, identifier: str, *, of_list: str = "", force: bool
    ) -> Suppression:
        """identifier: the address, for all its suppressions, or the id. Returns the strongest.
        Raises Problem 404 or 409."""
        return strongest_of(await self._remove(caller, [identifier], of_list=of_list, force=force))

    async def remove(self, caller: Caller, which: SuppressionSelector) -> list[Suppression]:
        """Returns the removed ones. Raises Problem."""
        given = [*(which.emails or ()), *(which.ids or ())]
        if not given or (which.emails and which.ids):
            detail = "The request has neither emails nor ids, or both. Use one of them."
            raise invalid([Fault("#", "invalid", detail)])
        return await self._remove(caller, given, of_list=which.list or "", force=which.force)

    async def _remove(
        self, caller: Caller, identifiers: Sequence[str], *, of_list: str, force: bool
    ) -> list[Suppression]:
        check_live(caller.key, "suppressions")
        request = RemoveSuppressionsRequest(
            **caller.owner._asdict(),
            addresses=map(canonical_or_same, identifiers),
            list=of_list,
            force=force,
            removed_by=caller.key.key_id,
        )
        stub = self._router.stub
        response = await self._router.call(stub.RemoveSuppressions, request, deadline_s=2.0)
        check_none_refused(response)
        audited = [one for one in response.removed if one.account_id or one.origin == COMPLAINT]
        await self._record(caller, [(subject_of(caller, one), one, None) for one in audited])
        return list(response.removed)

    async def _record(self, caller: Caller, changes: Sequence[Any]) -> None:
        """Record what holds for a whole account, and the removal of complaints."""
        if changes:
            await self._audit_log.record(caller, *changes)


def strongest_of(found: Sequence[Suppression]) -> Suppression:
    """Of those of an address. Raises Problem 404 if there is none."""
    if not found:
        raise not_found(WHAT)
    return min(found, key=lambda one: one.origin == UNSUBSCRIBE)


def subject_of(caller: Caller, one: Suppression) -> AuditSubject:
    """With the account, which reads the audit log."""
    account_id = caller.tenant.account_id if caller.tenant else caller.account_id
    return AuditSubject(RESOURCE, one.id, account_id, one.tenant_id)


def owner_by_scope(caller: Caller, scope: Scope, *, of_list: str | None = None) -> EntryOwner:
    """The tenant with its account, or the account alone. Raises Problem."""
    if scope == "list" and not of_list:
        detail = "The scope is a list, but the field list is missing. Name the list."
        raise invalid([Fault("#/list", "missing_required_field", detail)])
    if scope == "account":
        if caller.kind != CallerKind.ACCOUNT:
            detail = "The scope account needs the key of an account. Use scope tenant."
            raise Problem(403, "restricted_api_key", detail=detail)
        return EntryOwner(caller.account_id)
    if caller.tenant is None:
        detail = f"This is the key of an account. Name a tenant by {TENANT_HEADER}, or use the "
        detail += "scope account, for all tenants."
        fault = Fault("#/scope", "missing_required_field", detail)
        raise Problem(422, "missing_required_field", detail=detail, faults=[fault])
    return EntryOwner(caller.tenant.account_id, caller.tenant_id)


def check_none_refused(response: RemoveSuppressionsResponse) -> None:
    """Raises Problem 409."""
    if not response.refused:
        return
    first = response.refused[0]
    detail = (
        f"{first.address} has reported a message as spam. Nothing was removed. Use force if the "
        "recipient wants mail again."
    )
    fault = Fault("#/force", "address_suppressed_by_complaint", detail)
    raise Problem(409, "address_suppressed_by_complaint", detail=detail, faults=[fault])


def canonical_addresses(emails: Sequence[str], pointer: str) -> list[str]:
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


def canonical_domain(text: str) -> str:
    """The domain as addresses have it; other texts, which none has, unchanged."""
    try:
        return address.to_ascii(text) if text else text
    except AddressError:
        return text


def to_json(one: Suppression) -> dict[str, object]:
    return {
        "object": "suppression",
        "id": one.id,
        "tenant_id": one.tenant_id or None,
        "email": one.address,
        "scope": scope_of(one),
        "list": one.list or None,
        "origin": one.origin,
        "reason": one.reason or None,
        "note": one.note or None,
        "source_id": one.source_id or None,
        "created_at": format_timestamp(one.created_at),
        "expires_at": format_timestamp(one.expires_at),
    }


def scope_of(one: Suppression) -> Scope:
    if one.account_id:
        return "account"
    return "list" if one.list else "tenant"
