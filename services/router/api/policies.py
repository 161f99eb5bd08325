"""What limits mail, as it is stored, and the commands of operators that change it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite

from grpc import StatusCode

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policies_pb2 import (
    LimitsChanged,
    OverrideSet,
    PolicyCommand,
    StandingChanged,
)
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceServicer
from contracts.router.v1.results_pb2 import Results
from kernel import clock
from kernel.database import Database, Transaction
from kernel.rpc import Context, RequestError, map_errors
from services.router.api.pools import PoolAdmin, PoolInUse
from services.router.api.sources import describe_sources, warmup_of
from services.router.domain import overrides, policy_events
from services.router.domain.adaptation import AdaptationRules, AdaptivePolicies
from services.router.domain.events import timestamp
from services.router.domain.ledger import LimitUsage, Scope
from services.router.domain.policies import CombinedPolicies, PolicySource
from services.router.domain.scopes import LimitScopes
from services.router.store import policies, results
from services.router.store.notify import SchedulerNotifier

INVALID = StatusCode.INVALID_ARGUMENT


@dataclass(frozen=True, slots=True)
class StoredPolicies:
    """The rows, as the scheduler would load them. configured: the limits besides the adaptive ones.
    pool_of: the pool of a tenant."""

    rules: AdaptationRules
    configured: tuple[PolicySource, ...] = ()
    pool_of: Callable[[str], str] = lambda _: ""

    async def load(self, tx: Transaction) -> AdaptivePolicies:
        """As they will be when the scheduler has obeyed the commands that wait: operators see what
        they have done. Commands are read first: one that is obeyed meanwhile is in both, and no
        longer applies."""
        waiting = await results.read_commands(tx)
        adaptive = AdaptivePolicies(self.rules)
        await policies.load(tx, adaptive)
        for command in waiting:
            with suppress(ValueError):
                adaptive.execute(command, clock.now().timestamp())
        return adaptive

    async def warmups(self, tx: Transaction) -> list[pb.Warmup]:
        warmups = (await self.load(tx)).warmups
        found = (warmup_of(warmups, one.egress_id, one.site) for one in warmups.all_states())
        return [one for one in found if one]

    async def sources(self, tx: Transaction) -> list[pb.Source]:
        return await describe_sources(tx, await self.load(tx), now_s=clock.now().timestamp())

    async def overrides(self, tx: Transaction) -> list[OverrideSet]:
        adaptive = await self.load(tx)
        found = adaptive.feedback.overrides(clock.now().timestamp())
        return [policy_events.override_set(overrides.OverrideSet(one)) for one in found]

    async def standings(self, tx: Transaction) -> list[StandingChanged]:
        found = (await self.load(tx)).reputation.standings()
        return [policy_events.standing_changed(one) for one in found]

    async def limits(self, tx: Transaction) -> list[pb.LimitUsage]:
        adaptive = await self.load(tx)
        combined = CombinedPolicies([*self.configured, *adaptive.sources])
        scopes = LimitScopes(combined, self.pool_of)
        await policies.load_usage(tx, scopes)
        for change in adaptive.limits.changes():
            scopes.ledger.track(change.scope)
        found = scopes.ledger.usage(now_s=clock.now().timestamp())
        set_by = adaptive.limits.set_by
        return [limit_usage(one, set_by(one.scope, one.limit, one.maximum)) for one in found]

    async def execute(self, tx: Transaction, command: PolicyCommand) -> pb.ExecuteResponse:
        """Give a command to the scheduler. Raises ValueError if it does not apply."""
        if command.warmup.action == "start":
            command.warmup.ramp = command.warmup.ramp or self.rules.default_ramp
        if command.HasField("set_override"):
            self.rules.check_site(command.set_override.scope)
        if command.HasField("set_limits"):
            self._check_limits(command.set_limits)
        adaptive = await self.load(tx)
        before = adaptive.limits.latest(Scope.of(command.set_limits.scope))
        adaptive.execute(command, clock.now().timestamp())
        await results.append(tx, Results(commands=[command]))
        return pb.ExecuteResponse(
            limits_before=policy_events.limits_event(before) if before else None
        )

    def _check_limits(self, change: LimitsChanged) -> None:
        """Raises ValueError. What was set for a site that is gone can be removed."""
        if not policy_events.limits_of(change).is_removal:
            self.rules.check_site(change.scope)


@contextmanager
def refuse_value_errors() -> Iterator[None]:
    """A reason why a command does not apply becomes the refusal of the call."""
    try:
        yield
    except (ValueError, KeyError) as error:  # KeyError: an unknown action
        text = str(error)
        code = StatusCode.FAILED_PRECONDITION if isinstance(error, PoolInUse) else INVALID
        raise RequestError(text[:1].upper() + text[1:], code) from error


def limit_usage(one: LimitUsage, set_by: str = "") -> pb.LimitUsage:
    capacity = one.capacity
    waits = capacity.available <= 0 and isfinite(capacity.available_at_s)
    return pb.LimitUsage(
        scope=one.scope.key,
        limit=capacity.limited_by,
        maximum=one.maximum,
        used=max(one.maximum - capacity.available, 0),
        reason=one.reason if one.reason != capacity.limited_by else "",
        available_at=timestamp(capacity.available_at_s) if waits else None,
        set_by=set_by,
    )


@dataclass(frozen=True, slots=True)
class PolicyServicer(PolicyServiceServicer):
    database: Database
    tables: StoredPolicies
    notifier: SchedulerNotifier
    pools: PoolAdmin

    @map_errors
    async def ListWarmups(  # noqa: N802 - a name of the contract
        self, _: pb.ListWarmupsRequest, __: Context
    ) -> pb.ListWarmupsResponse:
        async with self.database.transaction() as tx:
            return pb.ListWarmupsResponse(warmups=await self.tables.warmups(tx))

    @map_errors
    async def ListOverrides(  # noqa: N802 - a name of the contract
        self, _: pb.ListOverridesRequest, __: Context
    ) -> pb.ListOverridesResponse:
        async with self.database.transaction() as tx:
            return pb.ListOverridesResponse(overrides=await self.tables.overrides(tx))

    @map_errors
    async def ListStandings(  # noqa: N802 - a name of the contract
        self, _: pb.ListStandingsRequest, __: Context
    ) -> pb.ListStandingsResponse:
        async with self.database.transaction() as tx:
            return pb.ListStandingsResponse(standings=await self.tables.standings(tx))

    @map_errors
    async def ListLimits(  # noqa: N802 - a name of the contract
        self, _: pb.ListLimitsRequest, __: Context
    ) -> pb.ListLimitsResponse:
        async with self.database.transaction() as tx:
            return pb.ListLimitsResponse(limits=await self.tables.limits(tx))

    @map_errors
    async def ListSources(  # noqa: N802 - a name of the contract
        self, _: pb.ListSourcesRequest, __: Context
    ) -> pb.ListSourcesResponse:
        async with self.database.transaction() as tx:
            return pb.ListSourcesResponse(sources=await self.tables.sources(tx))

    @map_errors
    async def ListPools(  # noqa: N802 - a name of the contract
        self, _: pb.ListPoolsRequest, __: Context
    ) -> pb.ListPoolsResponse:
        return pb.ListPoolsResponse(pools=await self.pools.list_all())

    @map_errors
    async def AddPool(  # noqa: N802 - a name of the contract
        self, request: pb.AddPoolRequest, _: Context
    ) -> pb.AddPoolResponse:
        with refuse_value_errors():
            pool = await self.pools.add(
                request.name,
                dedicated=request.dedicated,
                ramp=request.ramp,
                used=request.used_pool_ids,
            )
        return pb.AddPoolResponse(pool=pool)

    @map_errors
    async def SetOverflow(  # noqa: N802 - a name of the contract
        self, request: pb.SetOverflowRequest, _: Context
    ) -> pb.SetOverflowResponse:
        with refuse_value_errors():
            pool = await self.pools.set_overflow(request.pool_id, request.overflow_pool_id)
        return pb.SetOverflowResponse(pool=pool)

    @map_errors
    async def RemovePool(  # noqa: N802 - a name of the contract
        self, request: pb.RemovePoolRequest, _: Context
    ) -> pb.RemovePoolResponse:
        with refuse_value_errors():
            await self.pools.remove(request.pool_id)
        return pb.RemovePoolResponse()

    @map_errors
    async def Execute(  # noqa: N802 - a name of the contract
        self, request: pb.ExecuteRequest, _: Context
    ) -> pb.ExecuteResponse:
        with refuse_value_errors():
            async with self.database.transaction() as tx:
                response = await self.tables.execute(tx, request.command)
                await self.notifier.notify(tx)
        return response
