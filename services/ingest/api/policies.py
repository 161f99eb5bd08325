"""Limits of scopes and egress pools, for operators. The router owns them."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import Pool
from contracts.router.v1.policies_pb2 import LimitsChanged, PolicyCommand
from kernel import clock
from services.ingest.api.administration.base import LINE, Name, parse_id
from services.ingest.api.callers import Caller
from services.ingest.clients import ServiceClients
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, Problem, invalid, not_found

Limit = Annotated[int, Meta(ge=0, le=1_000_000_000)]
ScopeKey = Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE)]
PER_SECOND_MAX = 100_000
KINDS = (
    "tenant", "tenant_site", "api_key", "mailbox", "pool", "egress_site", "warmup", "site", "engine"
)  # fmt: skip
OF_SOURCES = ("egress_site", "warmup")
WHAT = "the pool"
CHANGED_BY_MAX = 100
DEADLINE_S = 10.0  # for the limits of a large installation


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


class CreatePoolRequest(RequestModel):
    """dedicated: the number of egress sources that it gets from the pool `spare`. warmup: the ramp
    of their warmup; without it they are warm."""

    name: Name
    dedicated: Annotated[int, Meta(ge=0, le=1_000)] = 0
    warmup: Annotated[str, Meta(max_length=100)] = ""


class UpdatePoolRequest(RequestModel):
    """overflow_pool_id: of the pool whose warm sources help; null for none."""

    overflow_pool_id: str | None


class Policies:
    """Raises Problem for everything that the router refuses."""

    def __init__(self, clients: ServiceClients) -> None:
        self._client = clients.policies

    async def limits(self) -> Sequence[pb.LimitUsage]:
        """Of the scopes that have sent lately, and those that operators have set."""
        response = await self._client.call(
            self._client.stub.ListLimits, pb.ListLimitsRequest(), deadline_s=DEADLINE_S
        )
        return response.limits

    async def set_limits(
        self, caller: Caller, given: ScopeLimits
    ) -> tuple[LimitsChanged | None, LimitsChanged]:
        """They replace those of an operator; without any, they are removed. Returns those before,
        if there were any, and the new ones."""
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
            changed_by=(caller.key.name or caller.key.key_id)[:CHANGED_BY_MAX],
        )
        with pointing_to("#/scope"):  # what else the router refuses
            response = await self._execute(PolicyCommand(set_limits=change))
        before = response.limits_before if response.HasField("limits_before") else None
        return before, change

    async def resume(self, tenant_id: str) -> None:
        """The waiting mail of a tenant that is paused for its bounces or complaints."""
        await self._execute(PolicyCommand(resume_tenant_id=tenant_id))

    async def pools(self) -> Sequence[Pool]:
        response = await self._client.call(self._client.stub.ListPools, pb.ListPoolsRequest())
        return response.pools

    async def create_pool(self, given: CreatePoolRequest, used: Collection[str]) -> Pool:
        """used: ids of pools with tenants."""
        request = pb.AddPoolRequest(
            name=given.name, dedicated=given.dedicated, ramp=given.warmup, used_pool_ids=used
        )
        with pointing_to("#/warmup" if given.warmup else "#/name"):
            return (await self._client.call(self._client.stub.AddPool, request)).pool

    async def set_overflow(self, pool: Pool, given: UpdatePoolRequest) -> Pool:
        request = pb.SetOverflowRequest(
            pool_id=pool.pool_id, overflow_pool_id=given.overflow_pool_id or ""
        )
        with pointing_to("#/overflow_pool_id"):
            return (await self._client.call(self._client.stub.SetOverflow, request)).pool

    async def remove_pool(self, pool: Pool) -> None:
        request = pb.RemovePoolRequest(pool_id=pool.pool_id)
        await self._client.call(self._client.stub.RemovePool, request)

    async def pool(self, pool_id: str) -> Pool:
        """Raises Problem 404."""
        wanted = parse_id(pool_id, WHAT)
        for one in await self.pools():
            if one.pool_id == wanted:
                return one
        raise not_found(WHAT)

    async def _scope_of(self, scope: str) -> str:
        """With the id of an egress source in place of its address."""
        kind, _, rest = scope.partition("/")
        subject, slash, site = rest.partition("/")
        if kind not in OF_SOURCES or not _is_address(subject):
            return scope
        response = await self._client.call(self._client.stub.ListSources, pb.ListSourcesRequest())
        for one in response.sources:
            source = one.source
            if not source.deleted and subject in (source.source_ip, source.source_ipv6):
                return f"{kind}/{source.egress_id}{slash}{site}"
        detail = f"There is no egress source {subject}."
        raise invalid([Fault("#/scope", "invalid", detail)])

    async def _execute(self, command: PolicyCommand) -> pb.ExecuteResponse:
        request = pb.ExecuteRequest(command=command)
        return await self._client.call(self._client.stub.Execute, request)


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


@contextmanager
def pointing_to(pointer: str) -> Iterator[None]:
    """What the router finds invalid is this field."""
    try:
        yield
    except Problem as problem:
        if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        raise invalid([Fault(pointer, "invalid", problem.detail)]) from problem


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
