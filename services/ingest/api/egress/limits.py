"""Limits of scopes, for operators. The router owns them."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from contracts.router.v1.policies_pb2 import LimitsChanged, PolicyCommand
from contracts.router.v1.policy_service_pb2 import LimitUsage, ListLimitsRequest
from kernel import clock
from kernel.ids import uuid5_text
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.callers import Caller
from services.ingest.api.egress.overrides import operator_name
from services.ingest.api.egress.owners import OF_SOURCES, OwnerLookup
from services.ingest.api.egress.router_client import EgressRouterClient, pointing_to
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, invalid
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import PageBounds

Limit = Annotated[int, Meta(ge=0, le=1_000_000_000)]
ScopeKey = Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE)]
PER_SECOND_MAX = 100_000
KINDS = (
    "tenant", "tenant_site", "api_key", "mailbox", "pool", "egress_site", "warmup", "site", "engine"
)  # fmt: skip
CHANGED_BY_MAX = 100
RESOURCE, NAMESPACE = "limits", b"obm limit scopes"  # in the audit log, and of the ids there


class ScopeLimits(RequestModel):
    """scope: `tenant/<id>`, `tenant_site/<id>/<site>`, `api_key/<id>`, `mailbox/<id>`, `pool/<id>`,
    `egress_site/<address or id>/<site>`, `warmup/<address or id>`, `site/<site>`, or `engine/` for
    all mail. Messages per period, and without a result yet; 0: no limit. time_zone: on whose clock
    hours and days begin; empty: they are rolling. weight: share of a tenant while several wait."""

    scope: ScopeKey
    per_second: Annotated[int, Meta(ge=0, le=PER_SECOND_MAX)] = 0
    per_minute: Limit = 0
    per_hour: Limit = 0
    per_day: Limit = 0
    in_flight: Limit = 0
    time_zone: Annotated[str, Meta(max_length=100)] = ""
    weight: Annotated[int, Meta(ge=0, le=100)] = 0


class LimitResource:
    """Raises Problem for everything that the router refuses."""

    def __init__(
        self, router: EgressRouterClient, owners: OwnerLookup, audit_log: AuditLogResource
    ) -> None:
        self._router = router
        self._owners = owners
        self._audit_log = audit_log

    async def page(self, page: PageBounds, *, scope: str) -> tuple[Sequence[LimitUsage], bool]:
        """Of the scopes that have sent lately, and those that operators have set. scope: only those
        that contain this."""
        after_scope, _, after_limit = page.after.rpartition("/")
        request = ListLimitsRequest(
            scope=scope, limit=page.limit, after_scope=after_scope, after_limit=after_limit
        )
        return await self._router.limits(request)

    async def set(self, caller: Caller, given: ScopeLimits) -> LimitsChanged:
        """They replace those of an operator; without any, they are removed."""
        check_limits(given)
        now = timestamp(clock.now())
        change = LimitsChanged(
            scope=await self._scope_of(given.scope),
            version=now.ToMicroseconds(),
            per_second=given.per_second,
            per_minute=given.per_minute,
            per_hour=given.per_hour,
            per_day=given.per_day,
            in_flight_max=given.in_flight,
            time_zone=given.time_zone,
            weight=given.weight,
            changed_at=now,
            changed_by=operator_name(caller)[:CHANGED_BY_MAX],
        )
        owner = await self._owners.of_scope(change.scope)
        subject = AuditSubject(RESOURCE, uuid5_text(NAMESPACE, change.scope), *owner)
        with pointing_to("#/scope"):  # what else the router refuses
            response = await self._router.execute(PolicyCommand(set_limits=change))
        before = response.limits_before if response.HasField("limits_before") else None
        await self._audit_log.record(caller, (subject, before, change), action="set")
        return change

    async def _scope_of(self, scope: str) -> str:
        """With the id of an egress source in place of its address."""
        kind, _, rest = scope.partition("/")
        subject, slash, site = rest.partition("/")
        if kind not in OF_SOURCES or not _is_address(subject):
            return scope
        found = await self._router.source(address=subject)
        if found is not None and not found.source.deleted:
            return f"{kind}/{found.source.egress_id}{slash}{site}"
        detail = f"There is no egress source {subject}."
        raise invalid([Fault("#/scope", "invalid", detail)])


def check_limits(given: ScopeLimits) -> None:
    """Raises Problem."""
    faults = []
    kind, _, _ = given.scope.partition("/")
    if kind not in KINDS:
        detail = f"There is no scope {given.scope[:80]!r}. Begin with one of {', '.join(KINDS)}."
        faults.append(Fault("#/scope", "invalid", detail))
    if given.weight and kind != "tenant":
        faults.append(Fault("#/weight", "invalid", "Only a tenant has a weight. Leave it out."))
    if given.time_zone and not is_time_zone(given.time_zone):
        detail = "The time zone is unknown. Use a name such as Europe/Berlin."
        faults.append(Fault("#/time_zone", "invalid", detail))
    if faults:
        raise invalid(faults)


def is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
