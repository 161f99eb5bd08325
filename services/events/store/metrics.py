"""The figures of a tenant, of all tenants of an account, or of all accounts."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contracts.events.v1.events_service_pb2 import (
    GetMetricsRequest,
    GetMetricsResponse,
    MetricsRow,
)
from kernel.database import Database, RowOwner, Transaction
from services.events.domain.figures.counting import (
    EventDimensions,
    FactsChange,
    Measure,
    count,
    sender_of,
)
from services.events.domain.figures.definitions import (
    AXES,
    EMAIL,
    HOURS_KEPT_DAYS,
    KEYS,
    PERIOD,
    TENANT,
    TimeAxis,
    TimedSpan,
)
from services.events.domain.figures.periods import (
    bounds_of,
    index_of,
    label_of,
    parse_period,
)
from services.events.domain.figures.query import InvalidQuery, MetricsQuery, parse_query
from services.events.store.figures.query import MessageFactsRow, RollUpQuery, load_facts

ROWS_MAX = 10_000
HISTOGRAM_ROWS_MAX = 500_000
MESSAGES_MAX = 10_000  # of the emails of a query
EVERYBODY = RowOwner(None, None)
WHOLE_HOURS_MAX = timedelta(days=2)
NAMES_OF_AXES = {axis: name for name, axis in AXES.items()}

Key = tuple[int, str, *tuple[str, ...]]  # number of the period from 1, tenant, dimensions


@dataclass(slots=True)
class MetricSums:
    """Counters, and the buckets of histograms."""

    counters: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    histograms: dict[TimedSpan, dict[int, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )

    def is_empty(self) -> bool:
        return not any(self.counters.values()) and not any(
            number for some in self.histograms.values() for number in some.values()
        )


async def load_metrics(
    database: Database,
    owner: RowOwner,
    request: GetMetricsRequest,
    *,
    now: datetime,
    egress_pools: Callable[[], Awaitable[Mapping[str, str]]],
) -> GetMetricsResponse:
    """Totals, and a row for each combination of the dimensions that has figures; without dimensions
    but the period, one for each period. database: with the role that row-level security binds,
    except for EVERYBODY. egress_pools: pools by egress source. Raises InvalidPeriod,
    InvalidQuery."""
    query = query_of(request, now)
    starts = query.period.starts() if PERIOD in query.dimensions else []
    pools = await egress_pools() if query.of_pools else None
    async with database.transaction(**owner._asdict()) as tx:
        if query.of_emails:
            totals, data = await sums_of_emails(tx, owner, query, starts=starts)
        else:
            builder = RollUpQueryBuilder(query, starts, now, pools, whole=owner == EVERYBODY)
            totals, data = await sums_of_roll_ups(tx, owner, builder)
    return response_of(query, totals, data, starts=starts)


def query_of(request: GetMetricsRequest, now: datetime) -> MetricsQuery:
    """Raises InvalidPeriod, InvalidQuery."""
    period = parse_period(
        request.start_date,
        request.end_date,
        timezone=request.timezone,
        granularity=request.granularity,
        now=now,
    )
    return parse_query(
        period,
        metrics=request.metrics,
        dimensions=request.dimensions,
        filters={one.name: one.values for one in request.filters},
        by=request.by,
        include_machine=request.include_machine,
    )


def check_request(request: GetMetricsRequest, now: datetime) -> None:
    """Refuse what load_metrics would refuse of one account, but for the number of rows, which only
    the figures tell. Raises InvalidPeriod, InvalidQuery."""
    query = query_of(request, now)
    starts = query.period.starts()
    if not query.of_emails:
        of_periods = starts if PERIOD in query.dimensions else []
        RollUpQueryBuilder(query, of_periods, now, None, whole=False).roll_up(
            query.dimensions, of_periods
        )


@dataclass(frozen=True, slots=True)
class RollUpQueryBuilder:
    """Makes the queries of roll-ups that a query of metrics needs. starts: of the periods. pools:
    by source, None where they do not matter. whole: of all accounts."""

    query: MetricsQuery
    starts: Sequence[datetime]
    now: datetime
    pools: Mapping[str, str] | None
    whole: bool

    def roll_up(self, dimensions: Sequence[str], starts: Sequence[datetime]) -> RollUpQuery:
        """By hour where days in UTC do not do, if the hours are still kept. Raises InvalidQuery."""
        query = self.query
        cube, period = query.cube([*query.dimensions]), query.period
        is_kept = period.start >= self.now - timedelta(days=HOURS_KEPT_DAYS)
        needs_hours = bool(starts) and period.granularity == "hourly"
        if needs_hours and not (cube.hourly and is_kept):
            detail = f"There are hours of the last {HOURS_KEPT_DAYS} days only."
            if not cube.hourly:
                detail = f"There are no hours by {', '.join(cube.dimensions)}."
            raise InvalidQuery("granularity", f"{detail} Use daily.")
        hourly = needs_hours or (cube.hourly and is_kept and not period.is_whole_days(self.now))
        if hourly and self.whole and period.end - period.start > WHOLE_HOURS_MAX:
            detail = (
                "Of all accounts, at most two days are counted by hours. Use whole days in UTC."
            )
            raise InvalidQuery("start_date", detail)
        first, end = period.hours() if hourly else period.days()
        return RollUpQuery(
            cube,
            query.axis,
            "hour" if hourly else "day",
            first,
            end,
            bounds=bounds_of(list(starts), hourly=hourly),
            dimensions=[one for one in dimensions if one not in {PERIOD, TENANT}],
            filters={one: values for one, values in query.filters.items() if one != TENANT},
            tenants=query.filters.get(TENANT, ()),
            by_tenant=TENANT in dimensions,
            pools=self.pools,
        )


async def sums_of_roll_ups(
    tx: Transaction, owner: RowOwner, builder: RollUpQueryBuilder
) -> tuple[MetricSums, Mapping[Key, MetricSums]]:
    """Totals have an own query: a message with two tags counts in two rows of tags."""
    query = builder.query
    whole = builder.roll_up([], [])
    [totals] = (await read_sums(tx, owner, query, roll_up=whole)).values() or [MetricSums()]
    if not query.dimensions:
        return totals, {}
    roll_up = builder.roll_up(query.dimensions, builder.starts)
    return totals, await read_sums(tx, owner, query, roll_up=roll_up)


async def read_sums(
    tx: Transaction, owner: RowOwner, query: MetricsQuery, *, roll_up: RollUpQuery
) -> dict[Key, MetricSums]:
    """Raises InvalidQuery if there are too many rows."""
    found: dict[Key, MetricSums] = defaultdict(MetricSums)
    width = 2 + len(roll_up.dimensions)
    counters = query.counters
    rows = await roll_up.sums(tx, owner, counters, limit=ROWS_MAX + 1)
    for row in rows:
        # A period begins at its first full hour: the half hour before that is in the first one.
        key: Key = (max(row[0], 1), *row[1:width])
        for name, number in zip(counters, row[width:], strict=False):
            found[key].counters[name] += number
    timed = []
    if query.is_timed and len(rows) <= ROWS_MAX:  # or many more would be read in vain
        timed = await roll_up.histograms(tx, owner, limit=HISTOGRAM_ROWS_MAX + 1)
    if len(rows) > ROWS_MAX or len(timed) > HISTOGRAM_ROWS_MAX:
        detail = f"There are more than {ROWS_MAX:,} rows. Use fewer dimensions or a shorter period."
        raise InvalidQuery("dimensions", detail)
    for row in timed:
        timing, bucket, number = row[width:]
        found[(max(row[0], 1), *row[1:width])].histograms[TimedSpan(timing)][bucket] += number
    return found


async def sums_of_emails(
    tx: Transaction, owner: RowOwner, query: MetricsQuery, *, starts: Sequence[datetime]
) -> tuple[MetricSums, Mapping[Key, MetricSums]]:
    """Of few messages, from what is known of each. Raises InvalidQuery."""
    if owner == EVERYBODY:
        raise InvalidQuery("email_id", "Name the tenant of the email.")
    messages = await load_facts(tx, owner, query.filters[EMAIL], limit=MESSAGES_MAX)
    totals, data = MetricSums(), defaultdict[Key, MetricSums](MetricSums)
    first, end = query.period.hours()
    bounds = bounds_of(list(starts), hourly=True)
    tenants = query.filters.get(TENANT)
    for one in messages:
        if tenants and one.tenant_id not in tenants:
            continue
        for cell, measure, number in _counts_of(one, query.axis):
            if not first <= cell.hour < end:
                continue
            period = index_of(bounds, cell.hour) + 1 if bounds else 1
            tenant = one.tenant_id if TENANT in query.dimensions else ""
            emails = (one.email_id,) if EMAIL in query.dimensions else ()
            for sums in (totals, data[(period, tenant, *emails)]):
                if isinstance(measure, str):
                    sums.counters[measure] += number
                else:
                    sums.histograms[TimedSpan(measure[0])][measure[1]] += number
    return totals, data if query.dimensions else {}


def _counts_of(
    message: MessageFactsRow, axis: TimeAxis
) -> Iterator[tuple[EventDimensions, Measure, int]]:
    """On an axis: with the hour of the acceptance in the place of that of the event."""
    change = FactsChange(message.tenant_id, message.message_id, None, message.facts)
    cohort = sender_of(change, message.facts).cohort
    for cell, numbers in count(message.facts).items():
        for measure, number in numbers.items():
            yield cell._replace(hour=cohort) if axis == TimeAxis.SENT else cell, measure, number


def response_of(
    query: MetricsQuery,
    totals: MetricSums,
    data: Mapping[Key, MetricSums],
    *,
    starts: Sequence[datetime],
) -> GetMetricsResponse:
    period = query.period
    named = [one for one in query.dimensions if one not in {PERIOD, TENANT}]
    if query.dimensions == [PERIOD]:
        data = {(n, ""): data.get((n, ""), MetricSums()) for n in range(1, len(starts) + 1)}

    def texts(key: Key) -> list[str]:
        values = dict(zip(named, key[2:], strict=True)) | {TENANT: key[1]}
        if starts:
            values[PERIOD] = label_of(starts[key[0] - 1], period.granularity)
        return [values[one] for one in query.dimensions]

    return GetMetricsResponse(
        start_date=period.start.isoformat(timespec="milliseconds"),
        end_date=period.end.isoformat(timespec="milliseconds"),
        metrics=query.metrics,
        dimensions=query.dimensions,
        granularity=period.granularity,
        timezone=period.zone.key,
        by=NAMES_OF_AXES[query.axis],
        keys=[KEYS.get(one, one) for one in query.dimensions],
        totals=query.values(totals.counters, totals.histograms),
        data=[
            MetricsRow(keys=texts(key), values=query.values(one.counters, one.histograms))
            for key, one in sorted(data.items())
            if query.dimensions == [PERIOD] or not one.is_empty()
        ],
    )
