"""Saved reports: their periods, and what is sent of each."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isnan
from typing import Any, NamedTuple

import msgspec

from contracts.events.v1.events_pb2 import ReportReady
from contracts.events.v1.events_service_pb2 import GetMetricsRequest, GetMetricsResponse
from services.events.domain.figures.periods import first_start, next_start, zone_of

GRANULARITIES = {"daily": "daily", "weekly": "weekly", "monthly": "monthly"}
# Figures follow events within seconds; what happens at the end of a period is in them by then.
SETTLE = timedelta(minutes=10)
FIGURES_BYTES_MAX = 48 * 1024  # an event stays below 64 KiB
TAG = "report"
TEXT = """\
{name}, {start} to {end} ({timezone})

{lines}
"""
MORE = "\nThere is more than this: GET /v1/emails/metrics has it all.\n"


class ScheduledReport(NamedTuple):
    """tenant_id: empty for all tenants of the account. query: without owner and dates. next_end:
    of the period that is reported next. last_end: of the one before, None if there was none."""

    id: str
    account_id: str
    tenant_id: str
    name: str
    query: GetMetricsRequest
    frequency: str
    timezone: str
    webhook: bool
    email: bool
    created_at: datetime
    next_end: datetime
    last_end: datetime | None = None

    @property
    def owner_id(self) -> str:
        return self.tenant_id or self.account_id

    @property
    def start(self) -> datetime:
        """Of the period that is reported next."""
        return period_before(self.next_end, self.frequency, self.timezone)

    @property
    def following_end(self) -> datetime:
        """Of the period after that."""
        return next_start(self.next_end.astimezone(zone_of(self.timezone)), self.frequency)

    def request(self) -> GetMetricsRequest:
        """The query for the period that is reported next."""
        wanted = GetMetricsRequest()
        wanted.CopyFrom(self.query)
        zone = zone_of(self.timezone)
        wanted.timezone = self.timezone
        wanted.start_date = self.start.astimezone(zone).isoformat()
        wanted.end_date = self.next_end.astimezone(zone).isoformat()
        return wanted

    def event(self, figures: bytes) -> ReportReady:
        return ReportReady(
            report_id=self.id,
            period_start_ms=int(self.start.timestamp() * 1000),
            period_end_ms=int(self.next_end.timestamp() * 1000),
            tenant_id=self.owner_id,
            name=self.name,
            frequency=self.frequency,
            timezone=self.timezone,
            figures=figures.decode(),
        )


def end_of_current(moment: datetime, frequency: str, timezone: str) -> datetime:
    """The end of the period in which a moment is. Raises InvalidPeriod."""
    local = moment.astimezone(zone_of(timezone))
    return next_start(first_start(local, frequency), frequency)


def period_before(end: datetime, frequency: str, timezone: str) -> datetime:
    """The start of the period that ends then."""
    local = end.astimezone(zone_of(timezone))
    return first_start(local - timedelta(hours=1), frequency)


def figures_of(found: GetMetricsResponse) -> bytes:
    """JSON with as many of the rows as fit."""
    whole = {
        "metrics": list(found.metrics),
        "dimensions": list(found.dimensions),
        "granularity": found.granularity,
        "by": found.by,
        "totals": _values(found, found.totals),
        "truncated": False,
    }
    rows = [_row(found, one) for one in found.data] if found.dimensions else None
    if rows is None:
        return msgspec.json.encode(whole)
    room = FIGURES_BYTES_MAX - len(msgspec.json.encode(whole))
    kept = []
    for row in rows:
        room -= len(msgspec.json.encode(row)) + 1
        if room < 16:
            break
        kept.append(row)
    return msgspec.json.encode({**whole, "truncated": len(kept) < len(rows), "data": kept})


def _row(found: GetMetricsResponse, row: Any) -> dict[str, Any]:  # noqa: ANN401 - a MetricsRow
    keys = zip(found.keys, (one or None for one in row.keys), strict=True)
    return {**dict(keys), **_values(found, row.values)}


def _values(found: GetMetricsResponse, values: Any) -> dict[str, Any]:  # noqa: ANN401 - of protobuf
    return {name: _number(one) for name, one in zip(found.metrics, values, strict=True)}


def _number(value: float) -> int | float | None:
    if isnan(value):
        return None
    return int(value) if value.is_integer() else value


def mail_of(event: ReportReady, *, sender: str, to: str) -> dict[str, object]:
    """The body of the request that sends a report."""
    zone = zone_of(event.timezone)
    start, end = (
        datetime.fromtimestamp(ms / 1000, zone).date()
        for ms in (event.period_start_ms, event.period_end_ms)
    )
    last = end - timedelta(days=1)
    text = TEXT.format(
        name=event.name, start=start, end=last, timezone=event.timezone,
        lines=lines_of(msgspec.json.decode(event.figures)),
    )  # fmt: skip
    return {
        "from": sender,
        "to": to,
        "subject": f"{event.name}: {start} to {last}",
        "text": text,
        "tags": [{"name": "kind", "value": TAG}],
    }


def lines_of(figures: Mapping[str, Any]) -> str:
    """A line for each metric, or for each row."""
    names = figures["metrics"]
    lines = [f"{name}: {text_of(figures['totals'][name])}" for name in names]
    for row in figures.get("data", ()):
        keys = ", ".join(str(value) for name, value in row.items() if name not in names)
        numbers = ", ".join(f"{name} {text_of(row[name])}" for name in names)
        lines.append(f"\n{keys}: {numbers}")
    return "\n".join(lines) + (MORE if figures["truncated"] else "")


def text_of(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"
