"""What a subject of reputation has sent, and what became of it, by the hour.

Rates are those of the latest thousand messages or more, but not of messages older than a week.

Five complaints about a thousand messages may be chance, and the pause of a tenant that is no worse
than others would last until an operator ends it. So the rate of complaints is that of more messages
than a thousand, as long as a day has more: until there are twenty complaints, whose rate is rarely
off by half, or so many messages that twenty complaints would not be too many.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

RATED_MIN = 1000
COMPLAINTS_SURE = 20
RATED_SURE = 20_000  # with twenty complaints, the rate at which a warning begins
BUCKET_S = 3600.0
DAY_HOURS = 24
WEEK_S = 7 * 86_400.0
BUCKETS_MIN = 4  # with fewer, none is dropped early


class MailCounts(NamedTuple):
    """reporting: messages delivered to sites that report complaints."""

    sent: int = 0
    bounced: int = 0
    reporting: int = 0
    complained: int = 0

    def plus(self, other: "MailCounts") -> "MailCounts":
        return MailCounts(
            self.sent + other.sent,
            self.bounced + other.bounced,
            self.reporting + other.reporting,
            self.complained + other.complained,
        )


@dataclass(slots=True)
class HourlyMailCounts:
    """Hourly buckets, the latest last: (hour, rates)."""

    buckets: deque[tuple[int, MailCounts]] = field(default_factory=deque)

    def add(self, at_s: float, rates: MailCounts) -> None:
        hour = int(at_s // BUCKET_S)
        if self.buckets and self.buckets[-1][0] >= hour:
            self.buckets[-1] = (self.buckets[-1][0], self.buckets[-1][1].plus(rates))
        else:
            self.buckets.append((hour, rates))
        while (hour - self.buckets[0][0]) * BUCKET_S > WEEK_S or self._is_first_irrelevant():
            self.buckets.popleft()

    def add_reported(self, sent_s: float, rates: MailCounts) -> None:
        """What arrives as mail counts against the hour in which its message was sent (an attempt
        may end in the next one). Messages that no longer count have no reports that do."""
        latest = int(sent_s // BUCKET_S) + 1
        for index in range(len(self.buckets) - 1, -1, -1):
            hour, counted = self.buckets[index]
            if hour <= latest:
                self.buckets[index] = (hour, counted.plus(rates))
                return

    def _is_first_irrelevant(self) -> bool:
        """Whether the later buckets alone decide both rates."""
        if len(self.buckets) < BUCKETS_MIN:
            return False
        sent = sum(rates.sent for _, rates in self.buckets) - self.buckets[0][1].sent
        return sent >= RATED_MIN and self._complaints()[0] < len(self.buckets)

    def bounce_rate(self) -> float:
        sent = bounced = 0
        for _, rates in reversed(self.buckets):
            sent, bounced = sent + rates.sent, bounced + rates.bounced
            if sent >= RATED_MIN:
                return bounced / sent
        return 0.0

    def complaint_rate(self) -> float:
        """Of messages to sites that report complaints: others would hide them."""
        _, reporting, complained = self._complaints()
        return complained / reporting if reporting >= RATED_MIN else 0.0

    def _complaints(self) -> tuple[int, int, int]:
        """The number of the latest buckets that decide the rate of complaints, their messages to
        sites that report them, and the complaints."""
        number = reporting = complained = 0
        for hour, counts in reversed(self.buckets):
            number += 1
            reporting += counts.reporting
            complained += counts.complained
            is_sure = complained >= COMPLAINTS_SURE or reporting >= RATED_SURE
            if reporting >= RATED_MIN and (is_sure or hour <= self.buckets[-1][0] - DAY_HOURS):
                break
        return number, reporting, complained
