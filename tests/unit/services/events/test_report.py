"""The periods of saved reports, and what is sent of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from contracts.events.v1.events_service_pb2 import (
    GetMetricsRequest,
    GetMetricsResponse,
    MetricsRow,
)
from services.events.domain.report import (
    FIGURES_BYTES_MAX,
    ScheduledReport,
    end_of_current,
    figures_of,
    mail_of,
)

ID = "01890000-0000-7000-8000-000000000000"
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)  # a Sunday


def report(frequency: str, timezone: str, moment: datetime = NOON) -> ScheduledReport:
    end = end_of_current(moment, frequency, timezone)
    query = GetMetricsRequest()
    return ScheduledReport(
        ID, ID, "", "All", query, frequency, timezone, True, True, moment, end
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frequency", "start", "end", "following"),
    [
        ("daily", "2026-11-29", "2026-11-30", "2026-12-01"),
        ("weekly", "2026-11-23", "2026-11-30", "2026-12-07"),
        ("monthly", "2026-11-01", "2026-12-01", "2027-01-01"),
    ],
)
def test_a_period_begins_and_ends_at_midnight_in_its_zone(
    frequency: str, start: str, end: str, following: str
) -> None:
    zone = ZoneInfo("America/New_York")
    found = report(frequency, zone.key)
    days = [found.start, found.next_end, found.following_end]
    assert [one.astimezone(zone).isoformat()[:19] for one in days] == [
        f"{day}T00:00:00" for day in (start, end, following)
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/Sao_Paulo", "UTC"])
@pytest.mark.parametrize("frequency", ["daily", "weekly", "monthly"])
def test_periods_follow_each_other_without_a_gap_for_years(zone: str, frequency: str) -> None:
    one = report(frequency, zone)
    for _ in range(800):
        after = one._replace(next_end=one.following_end.astimezone(UTC))
        assert after.start == one.next_end
        assert timedelta(hours=22) < after.next_end - after.start < timedelta(days=32)
        one = after


def test_figures_fit_into_an_event() -> None:
    rows = [MetricsRow(keys=[f"site-{n}.example.net"], values=[n]) for n in range(10_000)]
    found = GetMetricsResponse(
        metrics=["sent"], dimensions=["site"], keys=["site"], totals=[5], data=rows
    )
    octets = figures_of(found)
    figures = msgspec.json.decode(octets)
    assert len(octets) <= FIGURES_BYTES_MAX
    assert figures["truncated"] is True
    assert figures["data"][1] == {"site": "site-1.example.net", "sent": 1}
    mail = mail_of(report("daily", "UTC").event(octets), sender="a@b.example", to="c@d.example")
    assert mail["subject"] == "All: 2026-11-29 to 2026-11-29"
    assert "site-1.example.net: sent 1" in str(mail["text"])
    assert "There is more" in str(mail["text"])


def test_a_figure_that_there_is_none_of_is_a_dash() -> None:
    found = GetMetricsResponse(metrics=["bounce_rate"], totals=[float("nan")])
    event = report("weekly", "UTC").event(figures_of(found))
    assert "bounce_rate: -" in str(mail_of(event, sender="a@b.example", to="c@d.example")["text"])
