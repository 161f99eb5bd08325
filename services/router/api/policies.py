"""What limits mail, as it is stored, and the commands of operators that change it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from grpc import StatusCode

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policies_pb2 import (
    LimitsChanged,
    OverrideSet,
    PolicyCommand,
    StandingChanged,
)
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceServicer
from kernel import clock
from kernel.database import Database, Transaction
from kernel.rpc import Context, RequestError, map_errors, parse_id
from services.router.api.cells import CellAdmin, check_divisible
from services.router.api.limits import LimitQuery, list_limits
from services.router.api.pools import PoolAdmin, PoolConflict
from services.router.api.sources import count_in_flight, describe_sources, warmup_of
from services.router.domain import overrides, policy_events
from services.router.domain.cells import CellOf, first_cell
from services.router.domain.ledger import LimitScope
from services.router.domain.policies import CombinedPolicies, PolicySource
from services.router.domain.policy_engine import AdaptivePolicies, AdaptivePolicyRules
from services.router.domain.scopes import CellCapacity
from services.router.store import cells, commands, directory, policies, results
from services.router.store.notify import SchedulerNotifier

INVALID = StatusCode.INVALID_ARGUMENT
PAGE_MAX = 100
POOL_FIELDS: tuple[Literal["overflow_pool_id", "feedback_domain_id"], ...] = (
    "overflow_pool_id", "feedback_domain_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PolicyAdmin:
    """The rows, as the scheduler would load them. configured: the limits besides the adaptive ones.
    pool_of, cell_of: the pool and the cell of a tenant."""

    rules: AdaptivePolicyRules
    configured: tuple[PolicySource, ...] = ()
    pool_of: Callable[[str], str] = lambda _: ""
    cell_of: CellOf = first_cell

    async def load(self, tx: Transaction) -> AdaptivePolicies:
        """As they will be when the scheduler has obeyed the commands that wait."""
        return await self._load(tx, policies.load)

    async def _load(
        self, tx: Transaction, read: Callable[[Transaction, AdaptivePolicies], Awaitable[None]]
    ) -> AdaptivePolicies:
        """With the commands that wait: operators see what they have done. Commands are read first:
        one that is obeyed meanwhile is in both, and no longer applies."""
        waiting = await results.read_commands(tx)
        adaptive = AdaptivePolicies(self.rules)
        await read(tx, adaptive)
        for command in waiting:
            with suppress(ValueError):
                adaptive.execute(command, clock.now().timestamp())
        return adaptive

    async def warmups(self, tx: Transaction) -> list[pb.Warmup]:
        warmups = (await self.load(tx)).warmups
        found = (warmup_of(warmups, one.egress_id, one.site) for one in warmups.all_states())
        return [one for one in found if one]

    async def sources(self, tx: Transaction, page: directory.SourceQuery) -> list[pb.Source]:
        """Reads only what concerns the sources of the page."""
        in_flight = await count_in_flight(tx)
        found = await directory.load_sources_page(tx, replace(page, in_flight=[*in_flight]))
        egress_ids = [one.egress_id for one in found]
        adaptive = await self._load(tx, partial(policies.load_of_sources, egress_ids=egress_ids))
        now_s = clock.now().timestamp()
        described = await describe_sources(tx, adaptive, found, in_flight=in_flight, now_s=now_s)
        if page.egress_id and described:
            ended = await policies.read_ended_listings(tx, page.egress_id)
            described[0].ended_listings.extend(ended)
        return described

    async def overrides(self, tx: Transaction) -> list[OverrideSet]:
        adaptive = await self.load(tx)
        found = adaptive.feedback.overrides(clock.now().timestamp())
        return [policy_events.override_set(overrides.OverrideApplied(one)) for one in found]

    async def standings(self, tx: Transaction) -> list[StandingChanged]:
        found = (await self.load(tx)).reputation.standings()
        return [policy_events.standing_changed(one) for one in found]

    async def limits(self, tx: Transaction, page: LimitQuery) -> list[pb.LimitUsage]:
        """The page, and one more if there is one."""
        adaptive = await self._load(tx, policies.load_events)
        combined = CombinedPolicies([*self.configured, *adaptive.sources])
        return await list_limits(
            tx,
            page,
            scopes=CellCapacity(combined, self.pool_of),
            adaptive=adaptive,
            now_s=clock.now().timestamp(),
        )

    async def execute(self, tx: Transaction, command: PolicyCommand) -> pb.ExecuteResponse:
        """Give a command to the scheduler. Raises ValueError if it does not apply."""
        if command.warmup.action == "start":
            command.warmup.ramp = command.warmup.ramp or self.rules.default_ramp
        if command.HasField("set_override"):
            self.rules.check_site(command.set_override.scope)
        if command.HasField("set_limits"):
            self._check_limits(command.set_limits)
            names = await cells.read_names(tx)
            check_divisible(policy_events.limits_of(command.set_limits), len(names))
        adaptive = await self.load(tx)
        before = adaptive.limits.latest(LimitScope.of(command.set_limits.scope))
        scope = adaptive.feedback.scope_of(command.remove_override.override_id)
        adaptive.execute(command, clock.now().timestamp())
        await commands.give(tx, command, self.cell_of, scope=scope)
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
        code = StatusCode.FAILED_PRECONDITION if isinstance(error, PoolConflict) else INVALID
        raise RequestError(text[:1].upper() + text[1:], code) from error


def page_limit(limit: int) -> int:
    """Raises RequestError."""
    if limit > PAGE_MAX:
        raise RequestError(f"limit must be at most {PAGE_MAX}", field="limit")
    return limit or PAGE_MAX


@dataclass(frozen=True, slots=True)
class PolicyServicer(PolicyServiceServicer):
    database: Database
    tables: PolicyAdmin
    notifier: SchedulerNotifier
    pools: PoolAdmin
    cells: CellAdmin

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
        self, request: pb.ListLimitsRequest, _: Context
    ) -> pb.ListLimitsResponse:
        limit = page_limit(request.limit)
        page = LimitQuery(limit, request.scope, (request.after_scope, request.after_limit))
        async with self.database.transaction() as tx:
            found = await self.tables.limits(tx, page)
        return pb.ListLimitsResponse(limits=found[:limit], has_more=len(found) > limit)

    @map_errors
    async def ListSources(  # noqa: N802 - a name of the contract
        self, request: pb.ListSourcesRequest, _: Context
    ) -> pb.ListSourcesResponse:
        limit = page_limit(request.limit)
        page = directory.SourceQuery(
            limit + 1,
            pool_ids=[parse_id(one, "pool_ids") for one in request.pool_ids] or None,
            address=request.address,
            egress_id=parse_id(request.egress_id, "egress_id") if request.egress_id else None,
            after=parse_id(request.after, "after") if request.after else None,
        )
        async with self.database.transaction() as tx:
            found = await self.tables.sources(tx, page)
        return pb.ListSourcesResponse(sources=found[:limit], has_more=len(found) > limit)

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
    async def ChangePool(  # noqa: N802 - a name of the contract
        self, request: pb.ChangePoolRequest, _: Context
    ) -> pb.ChangePoolResponse:
        given = {name for name in POOL_FIELDS if request.HasField(name)}
        feedback_domain_id = request.feedback_domain_id
        if feedback_domain_id:
            feedback_domain_id = parse_id(feedback_domain_id, "feedback_domain_id")
        with refuse_value_errors():
            pool = await self.pools.change(
                request.pool_id,
                overflow_id=request.overflow_pool_id if "overflow_pool_id" in given else None,
                feedback_domain_id=feedback_domain_id if "feedback_domain_id" in given else None,
                cell=request.cell if request.HasField("cell") else None,
            )
        return pb.ChangePoolResponse(pool=pool)

    @map_errors
    async def RemovePool(  # noqa: N802 - a name of the contract
        self, request: pb.RemovePoolRequest, _: Context
    ) -> pb.RemovePoolResponse:
        with refuse_value_errors():
            await self.pools.remove(request.pool_id)
        return pb.RemovePoolResponse()

    @map_errors
    async def ListCells(  # noqa: N802 - a name of the contract
        self, _: pb.ListCellsRequest, __: Context
    ) -> pb.ListCellsResponse:
        return pb.ListCellsResponse(cells=await self.cells.list_all())

    @map_errors
    async def AddCell(  # noqa: N802 - a name of the contract
        self, request: pb.AddCellRequest, _: Context
    ) -> pb.AddCellResponse:
        with refuse_value_errors():
            async with self.database.transaction() as tx:
                limits = (await self.tables.load(tx)).limits.changes()
                cell = await self.cells.add(tx, request.cell, limits)
        return pb.AddCellResponse(cell=cell)

    @map_errors
    async def Execute(  # noqa: N802 - a name of the contract
        self, request: pb.ExecuteRequest, _: Context
    ) -> pb.ExecuteResponse:
        with refuse_value_errors():
            async with self.database.transaction() as tx:
                response = await self.tables.execute(tx, request.command)
                await self.notifier.notify(tx, self.notifier.directory.names)
        return response
