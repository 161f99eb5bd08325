"""Reputation of tenants, egress sources and domains: who sends what receivers refuse or recipients
complain about is warned, then paused.

The thresholds are those at which Amazon SES reviews and pauses accounts; the policies are those of
its tenants.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from math import inf
from typing import NamedTuple

from contracts.router.v1.results_pb2 import RESULT_KIND_BOUNCE, RESULT_KIND_COMPLAINT
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.mail_counts import RATED_MIN, HourlyMailCounts, MailCounts
from services.router.domain.reasons import WaitReason
from services.router.domain.results import INVALID_CLASSES, ObservedResult

WARN_BOUNCED, PAUSE_BOUNCED = 0.05, 0.1
WARN_COMPLAINED, PAUSE_COMPLAINED = 0.001, 0.005
SUBJECTS_MAX = 100_000
REPORTS = (RESULT_KIND_BOUNCE, RESULT_KIND_COMPLAINT)  # arrive as mail, after the attempt
RECOVERED_SHARE = 0.8  # of the rate of a warning, below which the warning ends


class ReputationPolicy(StrEnum):
    """none: only warn. standard: pause at the thresholds of a pause. strict: pause at those of a
    warning."""

    NONE = "none"
    STANDARD = "standard"
    STRICT = "strict"


class SubjectKind(StrEnum):
    TENANT = "tenant"
    EGRESS = "egress"
    DOMAIN = "domain"


class Subject(NamedTuple):
    kind: SubjectKind
    id: str


class Standing(StrEnum):
    GOOD = "good"
    WARNED = "warned"
    BROADCASTS_PAUSED = "broadcasts_paused"
    PAUSED = "paused"


PAUSED_AT = {
    ScopeKind.TENANT: (Standing.PAUSED,),
    ScopeKind.BROADCASTS: (Standing.PAUSED, Standing.BROADCASTS_PAUSED),
}


class StandingChanged(NamedTuple):
    """reason: bounces, complaints, operator, or recovered. rate: the share that decided."""

    subject: Subject
    standing: Standing
    at_s: float
    reason: str
    rate: float = 0.0


def deserved_standing(
    counts: HourlyMailCounts, policy: ReputationPolicy, *, warned: bool
) -> tuple[Standing, str, float]:
    """The standing that the rates deserve, the reason, and the rate. warned: already."""
    rates = (
        ("bounces", counts.bounce_rate(), WARN_BOUNCED, PAUSE_BOUNCED),
        ("complaints", counts.complaint_rate(), WARN_COMPLAINED, PAUSE_COMPLAINED),
    )
    worst = (Standing.GOOD, "recovered", 0.0)
    for reason, rate, warn, pause in rates:
        pauses_at = {
            ReputationPolicy.NONE: inf,
            ReputationPolicy.STANDARD: pause,
            ReputationPolicy.STRICT: warn,
        }[policy]
        if rate >= pauses_at:
            return Standing.BROADCASTS_PAUSED, reason, rate
        if rate >= warn * (RECOVERED_SHARE if warned else 1.0):
            worst = (Standing.WARNED, reason, rate)
    return worst


@dataclass(slots=True)
class SubjectHistory:
    counts: HourlyMailCounts = field(default_factory=HourlyMailCounts)
    standing: Standing = Standing.GOOD
    sent_since_pause: int = 0
    reason: str = ""
    changed_s: float = 0.0


class StandingController:
    """reports_complaints: whether a site has a feedback loop. policy_of: of a tenant.

    Tenants are paused, broadcasts first and everything after a thousand more messages at such a
    rate; a pause ends when an operator ends it. Sources and domains are only warned about.
    """

    kinds = (ScopeKind.TENANT, ScopeKind.BROADCASTS)
    reason = ""

    def __init__(
        self,
        *,
        reports_complaints: Callable[[str], bool],
        policy_of: Callable[[str], ReputationPolicy] = lambda _: ReputationPolicy.STANDARD,
        subjects_max: int = SUBJECTS_MAX,
    ) -> None:
        self._reports_complaints = reports_complaints
        self._policy_of = policy_of
        self._subjects_max = subjects_max
        self._records: OrderedDict[Subject, SubjectHistory] = OrderedDict()
        self._changed: dict[Subject, None] = {}  # since their counts were saved, in order

    def record(self, results: Iterable[ObservedResult]) -> list[StandingChanged]:
        """Count results, and return the standings that change."""
        sums: dict[tuple[Subject, float], MailCounts] = {}
        at_s = 0.0
        for result in results:
            if not result.connected:
                continue
            at_s = max(at_s, result.answered_s)
            counts = mail_counts_of(result, reports=self._reports_complaints(result.site))
            sent_s = result.assigned_s if result.kind in REPORTS else inf
            if any(counts):
                for subject in subjects_of(result.tenant_id, result.egress_id, result.domain_id):
                    key = (subject, sent_s)
                    sums[key] = sums[key].plus(counts) if key in sums else counts
        return [
            event
            for (subject, sent_s), counts in sums.items()
            for event in self._add(subject, counts, at_s, sent_s=min(sent_s, at_s))
        ]

    def record_complaints(
        self, count: int, sent_s: float, *, tenant_id: str, egress_id: str = "", domain: str = ""
    ) -> list[StandingChanged]:
        """sent_s: when the messages that they are about were sent."""
        counts = MailCounts(complained=count)
        subjects = subjects_of(tenant_id, egress_id, domain)
        return [
            event for one in subjects for event in self._add(one, counts, sent_s, sent_s=sent_s)
        ]

    def _add(
        self, subject: Subject, counts: MailCounts, at_s: float, *, sent_s: float
    ) -> list[StandingChanged]:
        record = self._records.get(subject)
        if record is None:
            record = self._records[subject] = SubjectHistory()
            self._drop_oldest()
        self._records.move_to_end(subject)
        self._changed[subject] = None
        if counts.sent:
            record.counts.add(at_s, counts)
        else:
            record.counts.add_reported(sent_s, counts)
        if record.standing is Standing.BROADCASTS_PAUSED:
            record.sent_since_pause += counts.sent
        policy = (
            self._policy_of(subject.id)
            if subject.kind is SubjectKind.TENANT
            else ReputationPolicy.NONE
        )
        standing, reason, rate = deserved_standing(
            record.counts, policy, warned=record.standing is Standing.WARNED
        )
        standing = next_standing(record, standing)
        if standing is record.standing:
            return []
        event = StandingChanged(subject, standing, at_s, reason, rate)
        self.apply(event)
        return [event]

    def apply(self, event: StandingChanged) -> None:
        record = self._records.setdefault(event.subject, SubjectHistory())
        record.standing, record.reason = event.standing, event.reason
        record.changed_s = event.at_s
        record.sent_since_pause = 0

    def resume(self, tenant_id: str, now_s: float) -> StandingChanged:
        """By an operator. The rates before no longer count."""
        subject = Subject(SubjectKind.TENANT, tenant_id)
        event = StandingChanged(subject, Standing.GOOD, now_s, "operator")
        self.apply(event)
        self._records[subject].counts = HourlyMailCounts()
        self._changed[subject] = None
        return event

    def drain_counts(self, limit: int | None) -> dict[Subject, list[int]]:
        """Counts that have changed since they were drained, the longest changed first."""
        drained = list(islice(self._changed, limit))
        for subject in drained:
            del self._changed[subject]
        return {one: counts_to_save(self._records[one]) for one in drained if one in self._records}

    def restore_counts(self, subject: Subject, counts: Sequence[int]) -> None:
        record = self._records.setdefault(subject, SubjectHistory())
        record.sent_since_pause, *values = counts
        for hour, *rates in zip(*[iter(values)] * 5, strict=True):
            record.counts.buckets.append((hour, MailCounts(*rates)))

    def forget_tenants(self, tenant_ids: Iterable[str]) -> None:
        for one in tenant_ids:
            self._records.pop(Subject(SubjectKind.TENANT, one), None)

    def standings(self) -> list[StandingChanged]:
        """Of all subjects whose standing is not good."""
        found = [
            StandingChanged(subject, record.standing, record.changed_s, record.reason)
            for subject, record in self._records.items()
            if record.standing is not Standing.GOOD
        ]
        return sorted(found)

    def standing_of(self, subject: Subject) -> Standing:
        record = self._records.get(subject)
        return record.standing if record else Standing.GOOD

    def may_broadcast(self, tenant_id: str) -> bool:
        standing = self.standing_of(Subject(SubjectKind.TENANT, tenant_id))
        return standing in (Standing.GOOD, Standing.WARNED)

    def _drop_oldest(self) -> None:
        """The longest unused subject goes; those that are paused stay."""
        if len(self._records) <= self._subjects_max:
            return
        for subject, record in self._records.items():
            if record.standing in (Standing.GOOD, Standing.WARNED):
                del self._records[subject]
                return

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        """A standing suspends and never limits."""
        return NO_LIMITS

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        """Of a tenant that is paused, or only its broadcasts."""
        standing = self.standing_of(Subject(SubjectKind.TENANT, scope.id))
        is_paused = standing in PAUSED_AT.get(scope.kind, ())
        return Suspension(inf, WaitReason.REPUTATION) if is_paused else None


def counts_to_save(record: SubjectHistory) -> list[int]:
    """The messages since the pause, then each hour with its rates."""
    hours = (value for hour, rates in record.counts.buckets for value in (hour, *rates))
    return [record.sent_since_pause, *hours]


def next_standing(record: SubjectHistory, deserved: Standing) -> Standing:
    """A pause stays until an operator ends it, and grows if it has not helped."""
    if record.standing is Standing.PAUSED:
        return Standing.PAUSED
    if record.standing is Standing.BROADCASTS_PAUSED:
        helped = deserved is not Standing.BROADCASTS_PAUSED or record.sent_since_pause < RATED_MIN
        return Standing.BROADCASTS_PAUSED if helped else Standing.PAUSED
    return deserved


def mail_counts_of(result: ObservedResult, *, reports: bool) -> MailCounts:
    """A bounce or complaint that arrives as mail concerns a message that was counted when sent."""
    if result.kind == RESULT_KIND_COMPLAINT:
        return MailCounts(complained=result.count)
    if result.kind == RESULT_KIND_BOUNCE:
        return MailCounts(bounced=result.count if result.bounce_class in INVALID_CLASSES else 0)
    delivered = result.count if result.is_delivered else 0
    bounced = result.count if result.bounce_class in INVALID_CLASSES else 0
    return MailCounts(delivered + bounced, bounced, delivered if reports else 0, 0)


def subjects_of(tenant_id: str, egress_id: str, domain: str) -> list[Subject]:
    names = (tenant_id, egress_id, domain)
    return [Subject(kind, name) for kind, name in zip(SubjectKind, names, strict=True) if name]
