"""A query of figures: what may be asked together, and the metrics that result from counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

from kernel.ids import canonical_uuid
from services.events.domain.figures.definitions import (
    AXES,
    COUNTER_NAMES,
    DEFAULT_METRICS,
    DIMENSIONS,
    EMAIL,
    KEYS,
    METRICS,
    NET,
    PERCENTILES,
    PERIOD,
    POOL,
    RATES,
    TENANT,
    TIMINGS,
    WITH_MACHINES,
    RollUpCube,
    TimeAxis,
    TimedSpan,
    cube_of,
)
from services.events.domain.figures.histogram import percentile_s
from services.events.domain.figures.periods import MetricsPeriod

VALUES_MAX = 100  # of a filter
RATES_BY_NAME = {one.name: one for one in RATES}
PERCENTILES_BY_NAME = {one.name: one for one in PERCENTILES}
DIMENSIONS_BY_KEY = {KEYS.get(one, one): one for one in DIMENSIONS if one != PERIOD}
UUIDS = frozenset({"tenant_id", "email_id", "pool_id"})

Histograms = Mapping[TimedSpan, Mapping[int, int]]


class InvalidQuery(ValueError):
    """The text explains it. field: of the request."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """filters: accepted values by dimension."""

    period: MetricsPeriod
    metrics: Sequence[str]
    dimensions: Sequence[str]
    filters: Mapping[str, Sequence[str]]
    axis: TimeAxis
    include_machine: bool

    @property
    def counters(self) -> list[str]:
        """Those that the metrics result from."""
        wanted = {name for metric in self.metrics for name in sources_of(metric)}
        if self.include_machine:
            wanted |= {WITH_MACHINES[name] for name in wanted & WITH_MACHINES.keys()}
        return [name for name in COUNTER_NAMES if name in wanted]

    @property
    def is_timed(self) -> bool:
        return any(name in PERCENTILES_BY_NAME for name in self.metrics)

    @property
    def of_pools(self) -> bool:
        return POOL in {*self.dimensions, *self.filters}

    @property
    def of_emails(self) -> bool:
        return EMAIL in {*self.dimensions, *self.filters}

    def cube(self, dimensions: Iterable[str]) -> RollUpCube:
        """The cube with these dimensions and those of the filters. Raises InvalidQuery."""
        wanted = frozenset((*dimensions, *self.filters)) - {PERIOD, TENANT}
        found = cube_of(wanted)
        if found is None:
            names = ", ".join(sorted(wanted))
            detail = f"{names} are not counted together. Use fewer dimensions and filters."
            raise InvalidQuery("dimensions", detail)
        if self.is_timed and not found.timed:
            names = ", ".join(sorted(wanted))
            raise InvalidQuery("metrics", f"There are no times by {names}. Leave them out.")
        return found

    def values(self, counts: Mapping[str, int], histograms: Histograms) -> list[float]:
        """In the order of the metrics; NaN where there is none."""
        known = dict(counts)
        if self.include_machine:
            for name, machine in WITH_MACHINES.items():
                known[name] = known.get(name, 0) + known.get(machine, 0)
        return [value_of(metric, known, histograms) for metric in self.metrics]


def parse_query(
    period: MetricsPeriod,
    *,
    metrics: Sequence[str],
    dimensions: Sequence[str],
    filters: Mapping[str, Sequence[str]],
    by: str,
    include_machine: bool,
) -> MetricsQuery:
    """What is empty has its default. filters: by key. Raises InvalidQuery."""
    query = MetricsQuery(
        period,
        _known(metrics, METRICS, "metrics") or DEFAULT_METRICS,
        _known(dimensions, DIMENSIONS, "dimensions"),
        dict(_filter(key, values) for key, values in filters.items() if values),
        AXES[_known([by], AXES, "by")[0] if by else "event"],
        include_machine,
    )
    if query.of_emails:
        _check_emails(query)
    else:
        query.cube(query.dimensions)
    return query


def _known(given: Sequence[str], known: Iterable[str], field: str) -> list[str]:
    """Without repeats. Raises InvalidQuery."""
    names = list(known)
    for name in given:
        if name not in names:
            detail = f"{name[:80]!r} is none of {field}. Use {', '.join(names)}."
            raise InvalidQuery(field, detail)
    return list(dict.fromkeys(given))


def _filter(key: str, values: Sequence[str]) -> tuple[str, list[str]]:
    if key not in DIMENSIONS_BY_KEY:
        raise InvalidQuery(key[:80], "Unknown filter.")
    if len(values) > VALUES_MAX:
        raise InvalidQuery(key, f"{key} has more than {VALUES_MAX} values.")
    if key in UUIDS:
        try:
            values = [canonical_uuid(one) for one in values]
        except ValueError:
            raise InvalidQuery(key, f"{key} is no UUID.") from None
    return DIMENSIONS_BY_KEY[key], list(values)


def _check_emails(query: MetricsQuery) -> None:
    """Raises InvalidQuery."""
    if EMAIL not in query.filters:
        raise InvalidQuery("dimensions", "The dimension email requires email_id.")
    others = {*query.dimensions, *query.filters} - {EMAIL, PERIOD, TENANT}
    if others:
        names = ", ".join(sorted(others))
        raise InvalidQuery("dimensions", f"email cannot be combined with {names}.")


def sources_of(metric: str) -> tuple[str, ...]:
    """The counters that a metric results from."""
    if metric in RATES_BY_NAME:
        rate = RATES_BY_NAME[metric]
        return rate.numerator, rate.denominator
    if metric == NET:
        return "delivered", "bounced_async"
    return (metric,) if metric in COUNTER_NAMES else ()


def value_of(metric: str, counts: Mapping[str, int], histograms: Histograms) -> float:
    if metric in RATES_BY_NAME:
        rate = RATES_BY_NAME[metric]
        base = counts.get(rate.denominator, 0)
        return round(counts.get(rate.numerator, 0) / base, 6) if base else nan
    if metric in PERCENTILES_BY_NAME:
        one = PERCENTILES_BY_NAME[metric]
        found = percentile_s(histograms.get(TIMINGS[one.timing], {}), one.share)
        return nan if found is None else found
    if metric == NET:
        return counts.get("delivered", 0) - counts.get("bounced_async", 0)
    return counts.get(metric, 0)
