"""Reads and changes of the directory by a caller."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from google.protobuf.message import Message
from msgspec import UNSET, Meta, Struct, structs

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Brand, Domain, Mailbox, Tenant
from kernel.errors import Unavailable
from kernel.ids import canonical_uuid
from services.ingest.api.callers import Caller
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, Problem, invalid, not_found, unavailable
from services.ingest.store.directory import DirectoryStore, DirectoryTransaction, TenantExists
from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds
from services.ingest.store.resource_counts import DailyResourceCounts, ResourceCounts

E = TypeVar("E", Account, ApiKey, Brand, Domain, Tenant, Mailbox)
N = TypeVar("N", Account, ApiKey, Domain, Tenant, Mailbox)  # what has an owner

W = TypeVar("W", ApiKey, Tenant, Mailbox)  # what a limit scope names

T = TypeVar("T")
DEFAULT_POOL = "00000000-0000-7000-8000-000000000001"  # of tenants without another one

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=LINE)]
Reason = Annotated[str, Meta(max_length=500, pattern=LINE)]
WHAT = {
    Account: "the account",
    ApiKey: "the API key",
    Domain: "the domain",
    Tenant: "the tenant",
    Mailbox: "the mailbox",
    Brand: "the brand",
}


class DirectoryResource:
    """The directory as a caller sees it. Raises Problem for everything that it refuses."""

    def __init__(self, store: DirectoryStore, lists: DirectoryLists) -> None:
        self._store = store
        self._lists = lists

    async def page(
        self, kind: type[E], owner: EntryOwner, page: PageBounds, *, equal: Mapping[str, object]
    ) -> tuple[Sequence[E], bool]:
        """Newest first. equal: values by column; those that are empty do not restrict the list."""
        given = {column: value for column, value in equal.items() if value != ""}
        return await query_or_503(self._lists.page(kind, owner, check_page(page), equal=given))

    async def get(self, kind: type[E], owner: EntryOwner, entry_id: str) -> E:
        """404 for an entry that does not exist, and for one of another owner."""
        found = await query_or_503(self._lists.find(kind, owner, parse_id(entry_id, WHAT[kind])))
        if found is None:
            raise not_found(WHAT[kind])
        return found

    async def account(self, account_id: str) -> Account:
        """For operators and its own keys; also one that was closed. 404 if there was none."""
        given = parse_id(account_id, WHAT[Account])
        found = await query_or_503(self._lists.find_account(given))
        if found is None:
            raise not_found(WHAT[Account])
        return found

    async def last_used(
        self, owner: EntryOwner, ids: Sequence[str], *, kind: type[ApiKey | Mailbox] = ApiKey
    ) -> dict[str, datetime]:
        """When credentials were last used, by id."""
        return await query_or_503(self._lists.last_used(owner, ids, kind=kind))

    async def brands(self) -> list[Brand]:
        """All that are records."""
        return await query_or_503(self._store.list_all(Brand))

    async def domain_ids(self, tenant_id: str, account_id: str) -> set[str]:
        """The domains that a tenant can send from."""
        return {one.domain_id for one in (await self.domains(tenant_id, account_id)).values()}

    async def domains(self, tenant_id: str, account_id: str) -> dict[str, Domain]:
        """The domains that a tenant can send from, by name."""
        found = await query_or_503(self._store.list_domains(tenant_id, account_id))
        return {one.name: one for one in found}

    async def pools_of(self, owner: EntryOwner) -> set[str]:
        """The egress pools that its tenants send through."""
        found = await query_or_503(self._lists.pools_of(owner))
        return {pool_id or DEFAULT_POOL for pool_id in found}

    async def tenants_among(self, owner: EntryOwner, ids: Sequence[str]) -> set[str]:
        """Those of these tenants that belong to it."""
        return await query_or_503(self._lists.tenants_among(owner, ids))

    async def domain_names(self, owner: EntryOwner, ids: Sequence[str]) -> dict[str, str]:
        """By id, also of domains that were deleted."""
        return await query_or_503(self._lists.domain_names(owner, ids))

    async def resources_of(
        self, owner: EntryOwner, first: date, *, end: date
    ) -> tuple[ResourceCounts, Sequence[DailyResourceCounts]]:
        """What it has now, and what an account has had on days."""
        return await query_or_503(self._lists.resources_of(owner, first, end=end))

    async def owner_of_pool(self, pool_id: str) -> EntryOwner:
        """The only account, and the only tenant, that sends through an egress pool other than the
        default one, which tenants have without choosing it."""
        try:
            wanted = canonical_uuid(pool_id)
        except ValueError:
            return EntryOwner()
        return await query_or_503(self._lists.owner_of_pool(wanted))

    async def owner_of(self, kind: type[W], entry_id: str) -> EntryOwner:
        """Nobody if there is no such entry."""
        try:
            found = await self.get(kind, EntryOwner(), entry_id)
        except Problem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise
            return EntryOwner()
        return EntryOwner(found.account_id, found.tenant_id)

    @asynccontextmanager
    async def changing(self, caller: Caller) -> AsyncIterator[DirectoryTransaction]:
        try:
            async with self._store.changing(caller.actor) as change:
                yield change
        except Unavailable as error:
            raise unavailable() from error
        except TenantExists:
            detail = "The account has a tenant with this external_id already."
            fault = Fault("#/external_id", "already_exists", detail)
            raise Problem(409, "already_exists", detail=detail, faults=[fault]) from None


async def query_or_503(query: Awaitable[T]) -> T:
    """Await a query of ingest's own database. Raises Problem 503 when it is unavailable."""
    try:
        return await query
    except Unavailable as error:
        raise unavailable() from error


async def find(change: DirectoryTransaction, caller: Caller, kind: type[N], *, entry_id: str) -> N:
    """An entry to change. 404 for one that does not exist, and for one of another owner."""
    found = await change.find(kind, parse_id(entry_id, WHAT[kind]))
    if found is None or not caller.sees(found.account_id, tenant_of(found)):
        raise not_found(WHAT[kind])
    return found


def paginate(
    found: Sequence[T], requested: PageBounds, *, id_of: Callable[[T], str]
) -> tuple[Sequence[T], bool]:
    """A page of a list in memory, and whether more follows in its direction."""
    ordered = sorted(found, key=id_of, reverse=True)
    if requested.before:
        newer = [one for one in ordered if id_of(one) > requested.before]
        return newer[-requested.limit :], len(newer) > requested.limit
    older = [one for one in ordered if not requested.after or id_of(one) < requested.after]
    return older[: requested.limit], len(older) > requested.limit


def set_given_fields(entry: Message, given: Struct) -> None:
    """Set the fields of a request that are given."""
    for name, value in structs.asdict(given).items():
        if value is not UNSET:
            setattr(entry, name, value)


def conflict(name: str, detail: str) -> Problem:
    return Problem(409, name, detail=detail)


def tenant_of(entry: Any) -> str:  # noqa: ANN401 - any entry
    return str(getattr(entry, "tenant_id", ""))


def parse_id(text: str, what: str) -> str:
    """A UUID in canonical form. Raises Problem 404 for any other text."""
    try:
        return canonical_uuid(text)
    except ValueError:
        raise not_found(what) from None


def check_page(page: PageBounds) -> PageBounds:
    """The page, if its cursors are ids. Raises Problem."""
    for name, cursor in (("after", page.after), ("before", page.before)):
        if cursor:
            check_id(cursor, f"#/query/{name}")
    return page


def checked_filter(text: str, name: str) -> str:
    """An id in the query that restricts a list; empty if there is none. Raises Problem."""
    return check_id(text, f"#/query/{name}") if text else ""


def check_id(text: str, pointer: str) -> str:
    """An id in a body or a query. Raises Problem 422."""
    try:
        return canonical_uuid(text)
    except ValueError:
        detail = f"{pointer.rpartition('/')[2]} is not an id."
        raise invalid([Fault(pointer, "invalid", detail)]) from None
