"""Egress pools, for operators. The router owns them."""

from collections.abc import Sequence
from http import HTTPStatus
from operator import attrgetter
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from contracts.ingest.v1.directory_pb2 import Domain
from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import Pool
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import (
    DirectoryResource,
    Name,
    check_id,
    paginate,
    parse_id,
)
from services.ingest.api.callers import Caller
from services.ingest.api.egress.cells import CellResource
from services.ingest.api.egress.owners import OwnerLookup
from services.ingest.api.egress.router_client import EgressRouterClient, pointing_to
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import EntryOwner, PageBounds

WHAT = "the pool"
RESOURCE = "pool"  # in the audit log


class CreatePoolRequest(RequestModel):
    """dedicated: the number of egress sources that it gets from the pool `spare`. warmup: the ramp
    of their warmup; without it they are warm."""

    name: Name
    dedicated: Annotated[int, Meta(ge=0, le=1_000)] = 0
    warmup: Annotated[str, Meta(max_length=100)] = ""


class UpdatePoolRequest(RequestModel):
    """Only the given fields are changed. overflow_pool_id: of the pool whose warm sources help;
    feedback_domain_id: of the domain whose DKIM keys also sign mail to sites with a feedback loop
    by domain, such as Yahoo. null: none. cell: that the pool moves to, with its tenants, and with
    the pools that mail overflows to or from."""

    overflow_pool_id: str | UnsetType | None = UNSET
    feedback_domain_id: str | UnsetType | None = UNSET
    cell: str | UnsetType = UNSET


class PoolResource:
    """Raises Problem for everything that the router refuses."""

    def __init__(
        self,
        router: EgressRouterClient,
        directory: DirectoryResource,
        audit_log: AuditLogResource,
        *,
        owners: OwnerLookup,
    ) -> None:
        self.cells = CellResource(router, audit_log)
        self._router = router
        self._directory = directory
        self._audit_log = audit_log
        self._owners = owners

    async def page(self, page: PageBounds, *, name: str) -> tuple[Sequence[Pool], bool]:
        """Newest first. name: only the pool of this name."""
        found = [one for one in await self._router.pools() if name in {"", one.name}]
        return paginate(found, page, id_of=attrgetter("pool_id"))

    async def create(self, caller: Caller, given: CreatePoolRequest) -> Pool:
        """With `dedicated`, a pool of this name without a tenant is used again."""
        used = await self._directory.pools_of(EntryOwner()) if given.dedicated else ()
        request = pb.AddPoolRequest(
            name=given.name, dedicated=given.dedicated, ramp=given.warmup, used_pool_ids=used
        )
        with pointing_to("#/warmup" if given.warmup else "#/name"):
            pool = (await self._router.policy(self._router.policies.AddPool, request)).pool
        await self._audit_log.record(caller, (await self._subject_of(pool), None, pool))
        return pool

    async def update(self, caller: Caller, pool_id: str, given: UpdatePoolRequest) -> Pool:
        before = await self._get(pool_id)
        subject = await self._subject_of(before)
        request = pb.ChangePoolRequest(pool_id=before.pool_id)
        if given.overflow_pool_id is not UNSET:
            request.overflow_pool_id = given.overflow_pool_id or ""
        if given.feedback_domain_id is not UNSET:
            request.feedback_domain_id = await self._domain_id(given.feedback_domain_id or "")
        if given.cell is not UNSET:
            request.cell = given.cell
        with pointing_to("#/cell" if given.cell is not UNSET else "#/overflow_pool_id"):
            pool = (await self._router.policy(self._router.policies.ChangePool, request)).pool
        await self._audit_log.record(caller, (subject, before, pool))
        return pool

    async def delete(self, caller: Caller, pool_id: str) -> str:
        """Only without egress sources, and if no other pool overflows to it."""
        before = await self._get(pool_id)
        subject = await self._subject_of(before)
        request = pb.RemovePoolRequest(pool_id=before.pool_id)
        await self._router.policy(self._router.policies.RemovePool, request)
        await self._audit_log.record(caller, (subject, before, None))
        return before.pool_id

    async def _domain_id(self, domain_id: str) -> str:
        """The id of a domain of the directory; empty for none. Raises Problem 422."""
        if not domain_id:
            return ""
        pointer = "#/feedback_domain_id"
        wanted = check_id(domain_id, pointer)
        try:
            return (await self._directory.get(Domain, EntryOwner(), wanted)).domain_id
        except Problem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise
            detail = "There is no domain with this id. Add the domain first."
            raise invalid([Fault(pointer, "not_found", detail)]) from problem

    async def _get(self, pool_id: str) -> Pool:
        """Raises Problem 404."""
        wanted = parse_id(pool_id, WHAT)
        for one in await self._router.pools():
            if one.pool_id == wanted:
                return one
        raise not_found(WHAT)

    async def _subject_of(self, pool: Pool) -> AuditSubject:
        return AuditSubject(RESOURCE, pool.pool_id, *await self._owners.of_pools(pool.pool_id))
