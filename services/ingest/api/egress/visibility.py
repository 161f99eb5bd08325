"""Which tenants a caller sees, and through them which pools and overrides."""

from collections.abc import Sequence

from contracts.ingest.v1.directory_pb2 import Tenant
from services.ingest.api.administration.tenants import Tenants
from services.ingest.api.callers import Caller, CallerKind, check_live
from services.ingest.store.directory_lists import Page

DEFAULT_POOL = "00000000-0000-7000-8000-000000000001"  # of tenants without another one
PAGE = 500


class VisibleResources:
    """What the tenants of a caller have. Without tenants, the caller is an operator, who sees
    everything."""

    def __init__(self, tenants: Sequence[Tenant] | None) -> None:
        self._all = tenants is None
        self._tenants = {one.tenant_id for one in tenants or ()}
        self._pools = {one.pool_id or DEFAULT_POOL for one in tenants or ()}

    def pool(self, pool_id: str) -> bool:
        return self._all or pool_id in self._pools

    def scope(self, key: str) -> bool:
        """key: such as tenant_site/<id>/<site>."""
        kind, _, rest = key.partition("/")
        is_theirs = kind in {"tenant", "tenant_site"} and rest.partition("/")[0] in self._tenants
        return self._all or is_theirs

    @classmethod
    async def for_caller(cls, caller: Caller, tenants: Tenants) -> "VisibleResources":
        """Raises Problem, also for test keys: all of this is about live mail."""
        check_live(caller.key, "egress sources")
        if caller.tenant is not None:
            return cls([caller.tenant])
        if caller.kind == CallerKind.OPERATOR:
            return cls(None)
        return cls(await _all_of(caller, tenants))


async def _all_of(caller: Caller, tenants: Tenants) -> list[Tenant]:
    found: list[Tenant] = []
    has_more = True
    while has_more:
        page = Page(PAGE, after=found[-1].tenant_id if found else "")
        some, has_more = await tenants.page(caller, page, external_id="", account_id="", name="")
        found += some
    return found
