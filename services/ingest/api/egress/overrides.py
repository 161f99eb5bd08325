"""Overrides and standings, as callers see them and operators set them."""

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.policies_pb2 import (
    OverrideRemoved,
    OverrideSet,
    PolicyCommand,
    StandingChanged,
)
from kernel import clock
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import (
    DirectoryResource,
    check_id,
    paginate,
    parse_id,
)
from services.ingest.api.callers import Caller
from services.ingest.api.egress.owners import OwnerLookup
from services.ingest.api.egress.requests import OverrideRequest
from services.ingest.api.egress.router_client import EgressRouterClient, pointing_to
from services.ingest.api.egress.views import id_of_override, id_of_standing
from services.ingest.api.egress.visibility import check_sees_egress, visible_scopes
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import PageBounds

WHAT = "the override"
RESOURCE = "override"  # in the audit log
OPERATOR = "operator"  # the rule of overrides that none of feedback.toml has set
SUSPENDS = {
    "egress_site": "suspend_site",
    "tenant_site": "suspend_tenant_site",
    "tenant": "pause_tenant",
}


class OverrideResource:
    """Raises Problem for everything that the router refuses."""

    def __init__(
        self,
        router: EgressRouterClient,
        directory: DirectoryResource,
        audit_log: AuditLogResource,
        *,
        owners: OwnerLookup,
    ) -> None:
        self._router = router
        self._directory = directory
        self._audit_log = audit_log
        self._owners = owners

    async def page(self, caller: Caller, page: PageBounds) -> tuple[Sequence[OverrideSet], bool]:
        """Those in force: of the caller's tenants, or all for an operator. Newest first."""
        check_sees_egress(caller)
        found = await self._router.overrides()
        visible = await visible_scopes(caller, self._directory, {one.scope for one in found})
        shown = [one for one in found if one.scope in visible]
        return paginate(shown, page, id_of=id_of_override)

    async def standings(
        self, caller: Caller, page: PageBounds
    ) -> tuple[Sequence[StandingChanged], bool]:
        """Of the caller's tenants, or all for an operator. Without those that are good."""
        check_sees_egress(caller)
        found = {id_of_standing(one): one for one in await self._router.standings()}
        visible = await visible_scopes(caller, self._directory, found)
        shown = [one for scope, one in found.items() if scope in visible]
        return paginate(shown, page, id_of=id_of_standing)

    async def add(self, caller: Caller, given: OverrideRequest) -> OverrideSet:
        scope = await self._scope_of(caller, given)
        action = SUSPENDS[scope.partition("/")[0]]
        if given.per_minute:
            action = "slow_down"
        elif given.one_connection:
            action = "one_connection"
        until = timestamp(clock.now() + timedelta(hours=given.hours))
        override = _new(scope, action, until=until, reason=given.reason)
        override.per_minute = given.per_minute
        return await self._set(caller, override)

    async def suspend(
        self, caller: Caller, scope: str, *, action: str, until: Timestamp
    ) -> OverrideSet:
        """action: of those that suspend."""
        return await self._set(caller, _new(scope, action, until=until))

    async def remove(self, caller: Caller, override_id: str) -> str:
        wanted = parse_id(override_id, WHAT)
        found = {id_of_override(one): one for one in await self._router.overrides()}.get(wanted)
        if found is None:
            raise not_found(WHAT)
        owner = await self._owners.of_scope(found.scope)
        removed = OverrideRemoved(override_id=found.override_id, removed_by=operator_name(caller))
        await self._router.execute(PolicyCommand(remove_override=removed))
        await self._audit_log.record(caller, (AuditSubject(RESOURCE, wanted, *owner), found, None))
        return wanted

    async def _set(self, caller: Caller, override: OverrideSet) -> OverrideSet:
        """Raises Problem with the field that is wrong."""
        owner = await self._owners.of_scope(override.scope)
        with pointing_to("#/site"):
            await self._router.execute(PolicyCommand(set_override=override))
        subject = AuditSubject(RESOURCE, id_of_override(override), *owner)
        await self._audit_log.record(caller, (subject, None, override))
        return override

    async def _scope_of(self, caller: Caller, given: OverrideRequest) -> str:
        """Raises Problem."""
        if given.egress_id is not None and given.tenant_id is None and given.site:
            egress_id = check_id(given.egress_id, "#/egress_id")
            if await self._router.source(egress_id) is None:
                detail = "There is no such egress source. See GET /v1/ips."
                raise invalid([Fault("#/egress_id", "invalid", detail)])
            return f"egress_site/{egress_id}/{given.site}"
        if given.tenant_id is not None and given.egress_id is None:
            tenant_id = await self._tenant_id(caller, given.tenant_id)
            site = given.site
            return f"tenant_site/{tenant_id}/{site}" if site else f"tenant/{tenant_id}"
        raise invalid([Fault("#", "invalid", "Name an egress source and a site, or a tenant.")])

    async def _tenant_id(self, caller: Caller, text: str) -> str:
        """Raises Problem."""
        tenant_id = check_id(text, "#/tenant_id")
        try:
            return (await self._directory.get(Tenant, caller.owner, tenant_id)).tenant_id
        except Problem as missing:
            if missing.status != 404:
                raise
            raise invalid([Fault("#/tenant_id", "invalid", missing.detail)]) from missing


def _new(scope: str, action: str, *, until: Timestamp, reason: str = "") -> OverrideSet:
    now = timestamp(clock.now())
    version = now.ToMicroseconds()
    return OverrideSet(
        override_id=f"{OPERATOR}/{scope}/{version}",
        version=version,
        scope=scope,
        action=action,
        rule=OPERATOR,
        reason=reason,
        set_at=now,
        until=until,
        ends_at=until,
    )


def operator_name(caller: Caller) -> str:
    """As it is in events."""
    return caller.key.name or caller.key.key_id
