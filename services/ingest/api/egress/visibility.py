"""Which pools and scopes a caller sees: those of its tenants. An operator sees all."""

from collections.abc import Collection

from services.ingest.api.administration.directory import DEFAULT_POOL, DirectoryResource
from services.ingest.api.callers import Caller, CallerKind, check_live

OF_TENANTS = ("tenant", "tenant_site")


def check_sees_egress(caller: Caller) -> None:
    """Raises Problem for test keys: all of this is about live mail."""
    check_live(caller.key, "egress sources")


async def visible_pools(caller: Caller, directory: DirectoryResource) -> set[str] | None:
    """None: all. Raises Problem."""
    check_sees_egress(caller)
    if caller.tenant is not None:
        return {caller.tenant.pool_id or DEFAULT_POOL}
    if caller.kind == CallerKind.OPERATOR:
        return None
    return await directory.pools_of(caller.owner)


async def visible_scopes(
    caller: Caller, directory: DirectoryResource, scopes: Collection[str]
) -> Collection[str]:
    """Those of the scopes that concern the caller's tenants alone."""
    if caller.kind == CallerKind.OPERATOR and caller.tenant is None:
        return scopes
    tenants = {one: tenant for one in scopes if (tenant := _tenant_of(one))}
    if caller.tenant is not None:
        own = {caller.tenant_id}
    else:
        own = await directory.tenants_among(caller.owner, sorted({*tenants.values()}))
    return {scope for scope, tenant_id in tenants.items() if tenant_id in own}


def _tenant_of(scope: str) -> str:
    """The id of the tenant that a scope such as tenant_site/<id>/<site> limits; else empty."""
    kind, _, rest = scope.partition("/")
    return rest.partition("/")[0] if kind in OF_TENANTS else ""
