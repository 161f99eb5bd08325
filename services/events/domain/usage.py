"""Months of usage, in UTC."""

from collections.abc import Iterator
from datetime import date

from kernel.prices import Plan

# A day of usage changes while its events arrive: most within minutes, some after an outage.
OPEN_DAYS = 4  # after the end of a month; then corrections of it are billed to a later one
MONTHS_KEPT = 25
THRESHOLDS = (50, 80, 100, 120)  # percent of what a plan admits or includes


def passed(plan: Plan, *, accepted: int, sent: int) -> Iterator[tuple[int, int, int]]:
    """Of each threshold that was passed in a month: percent, messages used, and the limit. A quota
    counts what was accepted; what a plan includes, what was sent."""
    if (limit := plan.sends_expected) is None:
        return
    used = accepted if plan.quota.month else sent
    for percent in THRESHOLDS:
        if used * 100 >= percent * limit:
            yield percent, used, limit


def parse_month(text: str) -> date:
    """The first day of a month such as 2026-01. Raises ValueError."""
    if len(text) != len("2026-01"):
        raise ValueError(text)
    return date.fromisoformat(f"{text}-01")


def earlier(month: date, months: int) -> date:
    """The first day of the month so many months before."""
    count = month.year * 12 + month.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)
