"""Egress sources, as callers see them and operators change them."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET

from contracts.router.v1 import egress_service_pb2 as egress_pb
from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupCommand
from kernel import clock
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import (
    DirectoryResource,
    check_id,
    check_page,
    conflict,
    parse_id,
)
from services.ingest.api.callers import Caller
from services.ingest.api.egress.overrides import OverrideResource, operator_name
from services.ingest.api.egress.owners import OwnerLookup
from services.ingest.api.egress.requests import (
    AddIpRequest,
    ResumeIpRequest,
    SuspendIpRequest,
    UpdateIpRequest,
    WarmupRequest,
)
from services.ingest.api.egress.router_client import EgressRouterClient, pointing_to
from services.ingest.api.egress.visibility import visible_pools
from services.ingest.domain import schedule
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import PageBounds

WHAT = "the egress source"
RESOURCE = "ip"  # in the audit log
START, LOWER = "start", "lower"
FIELDS = {START: "ramp", LOWER: "stage"}  # that the router may refuse


class SourceResource:
    """Raises Problem for everything that the router refuses."""

    def __init__(
        self,
        router: EgressRouterClient,
        directory: DirectoryResource,
        audit_log: AuditLogResource,
        *,
        overrides: OverrideResource,
        owners: OwnerLookup,
    ) -> None:
        self._router = router
        self._directory = directory
        self._audit_log = audit_log
        self._overrides = overrides
        self._owners = owners

    async def page(
        self, caller: Caller, page: PageBounds, *, address: str = "", pool_id: str = ""
    ) -> tuple[Sequence[pb.Source], bool]:
        """Of the pools that the caller's tenants send through; all for an operator. Newest
        first."""
        check_page(page)
        pools = await visible_pools(caller, self._directory)
        if pool_id:
            pools = {pool_id} if pools is None or pool_id in pools else set()
        if pools is not None and not pools:
            return [], False
        request = pb.ListSourcesRequest(
            pool_ids=sorted(pools or ()), address=address, limit=page.limit, after=page.after
        )
        return await self._router.sources(request)

    async def get(self, caller: Caller, ip_id: str) -> pb.Source:
        """404 for a source of a pool that the caller does not use."""
        pools = await visible_pools(caller, self._directory)
        found = await self._get(ip_id)
        if pools is not None and found.source.pool_id not in pools:
            raise not_found(WHAT)
        return found

    async def add(self, caller: Caller, given: AddIpRequest) -> pb.Source:
        request = egress_pb.AddSourceRequest(
            addresses=given.addresses,
            ehlo=given.ehlo,
            ramp=given.warmup,
            egress_host=given.egress_host,
        )
        if given.pool_id is not None:
            request.pool_id = check_id(given.pool_id, "#/pool_id")
        added = (await self._router.change(self._router.stub.AddSource, request)).source
        await self._record(caller, None, added)
        return await self._get(added.egress_id)

    async def update(self, caller: Caller, ip_id: str, given: UpdateIpRequest) -> pb.Source:
        before = await self._existing(ip_id)
        request = egress_pb.ChangeSourceRequest(egress_id=before.source.egress_id)
        if given.addresses is not UNSET:
            request.addresses.extend(given.addresses)
        if given.pool_id is not UNSET:
            request.pool_id = check_id(given.pool_id, "#/pool_id")
        for name in ("ehlo", "egress_host", "paused"):
            if (value := getattr(given, name)) is not UNSET:
                setattr(request, name, value)
        changed = (await self._router.change(self._router.stub.ChangeSource, request)).source
        await self._record(caller, before.source, changed)
        return await self._get(changed.egress_id)

    async def remove(self, caller: Caller, ip_id: str) -> str:
        """It sends nothing any more; what it has in flight still gets its results."""
        before = await self._existing(ip_id)
        request = egress_pb.RemoveSourceRequest(egress_id=before.source.egress_id)
        removed = (await self._router.change(self._router.stub.RemoveSource, request)).source
        await self._record(caller, before.source, removed)
        return removed.egress_id

    async def change_warmup(self, caller: Caller, ip_id: str, given: WarmupRequest) -> pb.Source:
        before = await self._existing(ip_id)
        if given.action != START and not before.HasField("warmup"):
            raise conflict("conflict", "The source is not warming up. Start its warmup first.")
        if given.action == LOWER and given.stage is None:
            fault = Fault("#/stage", "missing_required_field", "The field stage is missing.")
            raise invalid([fault])
        command = WarmupCommand(
            egress_id=before.source.egress_id,
            action=given.action,
            ramp=given.ramp,
            stage=(given.stage or 1) - 1,
        )
        await self._command(command)
        after = await self._get(command.egress_id)
        before_warmup = before.warmup.state if before.HasField("warmup") else None
        owner = await self._owners.of_pools(before.source.pool_id)
        subject = AuditSubject(RESOURCE, command.egress_id, *owner)
        action = f"warmup_{given.action}"
        change = (subject, before_warmup, after.warmup.state)
        await self._audit_log.record(caller, change, action=action)
        return after

    async def suspend(self, caller: Caller, ip_id: str, given: SuspendIpRequest) -> pb.Source:
        """Until a time, at a site or as a whole."""
        egress_id = (await self._existing(ip_id)).source.egress_id
        is_site = bool(given.site)
        scope = f"egress_site/{egress_id}/{given.site}" if is_site else f"warmup/{egress_id}"
        action = "suspend_site" if is_site else "suspend_egress"
        await self._overrides.suspend(caller, scope, action=action, until=_until(given.until))
        return await self._get(egress_id)

    async def resume(self, caller: Caller, ip_id: str, given: ResumeIpRequest) -> pb.Source:
        """End the pause and the suspension of the source, or its suspension at a site."""
        before = await self._existing(ip_id)
        request = egress_pb.ResumeSourceRequest(
            egress_id=before.source.egress_id, site=given.site, resumed_by=operator_name(caller)
        )
        changed = (await self._router.change(self._router.stub.ResumeSource, request)).source
        await self._record(caller, before.source, changed, action="resume")
        return await self._get(changed.egress_id)

    async def _command(self, command: WarmupCommand) -> None:
        """Raises Problem 422 with the field that is wrong, or 409."""
        try:
            with pointing_to(f"#/{FIELDS.get(command.action, 'action')}"):
                await self._router.execute(PolicyCommand(warmup=command))
        except Problem as refused:
            if refused.status == 422 and command.action not in FIELDS:
                raise conflict("conflict", refused.detail) from refused
            raise

    async def _record(
        self,
        caller: Caller,
        before: EgressSource | None,
        after: EgressSource,
        *,
        action: str = "",
    ) -> None:
        pools = [one.pool_id for one in (before, after) if one is not None]
        subject = AuditSubject(RESOURCE, after.egress_id, *await self._owners.of_pools(*pools))
        await self._audit_log.record(caller, (subject, before, after), action=action)

    async def _existing(self, ip_id: str) -> pb.Source:
        """To change it: not one that is removed and has messages in flight."""
        found = await self._get(ip_id)
        if found.source.deleted:
            raise not_found(WHAT)
        return found

    async def _get(self, ip_id: str) -> pb.Source:
        """Raises Problem 404."""
        found = await self._router.source(parse_id(ip_id, WHAT))
        if found is None:
            raise not_found(WHAT)
        return found


def _until(text: str) -> Timestamp:
    """Raises Problem."""
    try:
        moment = schedule.parse_time(text, clock.now())
    except schedule.InvalidTime as error:
        detail = str(error).replace("scheduled_at", "until")
        raise invalid([Fault("#/until", "invalid_time", detail)]) from None
    if moment is None:
        raise invalid([Fault("#/until", "invalid_time", "until is in the past.")])
    return timestamp(moment)
