"""How much a report of abuse counts: whoever wants to harm a sender reports its mail, too.

A recipient counts once a day, and so does a domain, unless a large mailbox provider serves it:
whoever has a domain has as many recipients as they want. Who reports again and again counts little.
Memory is bounded; what is forgotten counts as new.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from services.shield.domain.learning.facts import MessageOutcome, OutcomeKind

DAY_S = 86_400.0
FULL, LITTLE, NOTHING = 1_000, 100, 0  # thousandths
COUNTED_MAX = 100_000  # per day; then reports count little
REPORTERS_MAX = 50_000
FEW_REPORTS = 3  # of one recipient that count in full


class ReporterCounts:
    """What was counted today, and who has reported how often. Keys are hashes."""

    def __init__(self) -> None:
        self.day = 0
        self.counted: set[int] = set()
        self.reporters: OrderedDict[int, int] = OrderedDict()

    def weight(self, outcome: MessageOutcome) -> int:
        """Thousandths of the report that count."""
        if outcome.kind is OutcomeKind.SPAM_BLOCKED:
            return FULL if outcome.at_large_mailbox else NOTHING
        self.begin_day(int(outcome.occurred_at_s // DAY_S))
        domain = f"{outcome.kind} {outcome.tenant_id} {outcome.recipient_domain}"
        if not self.is_first(f"{domain} {outcome.recipient_digest.hex()}"):
            return NOTHING
        usual = outcome.at_large_mailbox or self.is_first(domain)
        return FULL if usual and self.is_rare(outcome) else LITTLE

    def begin_day(self, day: int) -> None:
        if day > self.day:
            self.day = day
            self.counted.clear()

    def is_first(self, what: str) -> bool:
        """Whether it is counted for the first time today."""
        key = key_of(what.encode())
        if key in self.counted:
            return False
        if len(self.counted) < COUNTED_MAX:
            self.counted.add(key)
        return True

    def is_rare(self, outcome: MessageOutcome) -> bool:
        """Whether the recipient has reported seldom, and there was room to count it today."""
        key = key_of(outcome.recipient_digest)
        reports = self.reporters.get(key, 0) + 1
        self.reporters[key] = reports
        self.reporters.move_to_end(key)
        if len(self.reporters) > REPORTERS_MAX:
            self.reporters.popitem(last=False)
        return reports <= FEW_REPORTS and len(self.counted) < COUNTED_MAX

    def dump(self) -> list[Any]:
        return [self.day, sorted(self.counted), list(self.reporters.items())]

    def load(self, dumped: Sequence[Any]) -> None:
        self.day, self.counted = dumped[0], set(dumped[1])
        self.reporters = OrderedDict((key, reports) for key, reports in dumped[2])


def key_of(what: bytes) -> int:
    return int.from_bytes(blake2b(what, digest_size=8).digest(), "little")
