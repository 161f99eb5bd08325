"""The verification of a domain: its states, and when its records are checked next.

A new domain is checked after 1, 2, 5, 10 and 30 minutes, then hourly until 72 hours have passed. A
verified domain is checked hourly. A check with a failed lookup (SERVFAIL, timeout) decides nothing:
only what DNS has answered counts. It is a check of the schedule all the same, so that name servers
that never answer are asked ever more rarely.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto

from contracts.ingest.v1.directory_pb2 import Domain, DomainStatus
from mail.domain_check import CheckStatus, RecordCheck
from mail.records import Purpose
from services.ingest.domain.domain_listings import listing_change

DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 30))
HOUR = timedelta(hours=1)
WINDOW = timedelta(hours=72)  # of a domain that is not verified yet
FAILING_MIN = timedelta(hours=1)  # a failure is reported when it has lasted this long
PAUSE_AFTER = timedelta(hours=24)  # without DKIM records

STATUSES = {
    number: name.removeprefix("DOMAIN_STATUS_").lower() for name, number in DomainStatus.items()
} | {DomainStatus.DOMAIN_STATUS_UNSPECIFIED: "verified"}
NOT_STARTED = DomainStatus.DOMAIN_STATUS_NOT_STARTED
PENDING = DomainStatus.DOMAIN_STATUS_PENDING
PARTIALLY_VERIFIED = DomainStatus.DOMAIN_STATUS_PARTIALLY_VERIFIED
VERIFIED = DomainStatus.DOMAIN_STATUS_VERIFIED
PARTIALLY_FAILED = DomainStatus.DOMAIN_STATUS_PARTIALLY_FAILED
FAILED = DomainStatus.DOMAIN_STATUS_FAILED
ESTABLISHED = frozenset((VERIFIED, PARTIALLY_FAILED, DomainStatus.DOMAIN_STATUS_UNSPECIFIED))
# Of the record: a change of these is reported.
REPORTED = (
    "rsa_selector", "tls_enforced", "open_tracking", "click_tracking", "untracked_hosts",
    "tracking_mode", "tracking_host", "tracking_verified",
)  # fmt: skip

RIGHT = (CheckStatus.OK, CheckStatus.WEAK)


class RecordStatus(StrEnum):
    """The status of a record, in Resend's words."""

    NOT_STARTED = "not_started"
    PENDING = "pending"
    VERIFIED = "verified"
    FAILED = "failed"
    TEMPORARY_FAILURE = "temporary_failure"


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """What the last check found of a record. name, type, purpose: those of the record. problem:
    what is wrong, and what to do; empty if nothing is."""

    name: str
    type: str
    purpose: Purpose
    status: RecordStatus
    found: Sequence[str] = ()
    problem: str = ""


class RecordCheckResult(Enum):
    """The outcome of a check of some records."""

    RIGHT = auto()
    WRONG = auto()
    UNKNOWN = auto()  # a lookup failed


@dataclass(frozen=True, slots=True)
class RecordCheckResults:
    """dkim: of the DKIM records. others: of the other records that are required."""

    dkim: RecordCheckResult
    others: RecordCheckResult


@dataclass(frozen=True, slots=True)
class VerificationProgress:
    """started_at: begin of the schedule. checks: those since, answered or not. failing_since: of
    a verified domain, its first failure in a row. dkim_missing_since: likewise, of its DKIM
    records. paused: no live mail until the DKIM records are back."""

    status: int
    started_at: datetime
    checks: int = 0
    failing_since: datetime | None = None
    dkim_missing_since: datetime | None = None
    paused: bool = False


def may_send(domain: Domain) -> bool:
    """Whether live mail may be sent from the domain."""
    return domain.status in ESTABLISHED and not domain.paused


def missing_record(domain: Domain) -> str:
    """The record that keeps the domain from being verified, in words."""
    kind = "CNAME" if domain.dkim_zone else "TXT"
    own = f"the {kind} record at {domain.rsa_selector}._domainkey.{domain.name}"
    return domain.missing_record or own


def restart_schedule(before: VerificationProgress, now: datetime) -> VerificationProgress:
    """Begin the schedule again, because the customer wants a check."""
    status = PENDING if before.status in (NOT_STARTED, FAILED) else before.status
    return replace(before, status=status, started_at=now, checks=0)


def decide(
    before: VerificationProgress, found: RecordCheckResults, now: datetime
) -> VerificationProgress:
    """The state after a check."""
    before = replace(before, checks=before.checks + 1)
    if RecordCheckResult.UNKNOWN in (found.dkim, found.others):
        return before
    if found.dkim is found.others is RecordCheckResult.RIGHT:
        return VerificationProgress(VERIFIED, before.started_at, before.checks)
    if before.status in ESTABLISHED:
        return _fail(before, found, now)
    if now - before.started_at >= WINDOW:
        return replace(before, status=FAILED)
    return replace(
        before, status=PARTIALLY_VERIFIED if found.dkim is RecordCheckResult.RIGHT else PENDING
    )


def _fail(
    before: VerificationProgress, found: RecordCheckResults, now: datetime
) -> VerificationProgress:
    """The state of a verified domain after a check that found a fault."""
    failing_since = before.failing_since or now
    missing_since = (
        (before.dkim_missing_since or now) if found.dkim is RecordCheckResult.WRONG else None
    )
    lasted = now - failing_since >= FAILING_MIN
    return replace(
        before,
        status=PARTIALLY_FAILED if lasted else before.status,
        failing_since=failing_since,
        dkim_missing_since=missing_since,
        paused=missing_since is not None and now - missing_since >= PAUSE_AFTER,
    )


def delay_to_next(state: VerificationProgress, *, waiting: bool = False) -> timedelta | None:
    """The time until the next check; None if there is none before the customer wants one.
    waiting: new DKIM keys or a tracking host wait for DNS."""
    if state.status == FAILED:
        return None
    if (state.status in ESTABLISHED and not waiting) or not 0 <= state.checks < len(DELAYS):
        return HOUR
    return DELAYS[state.checks]


def change_type(before: Domain | None, after: Domain) -> str:
    """The type of the event of a change; empty if there is nothing to report."""
    if before is None:
        return "domain.created"
    if after.deleted:
        return "domain.deleted"
    if before.paused != after.paused:
        return "domain.paused" if after.paused else "domain.resumed"
    if before.status == after.status and (listing := listing_change(before, after)[0]):
        return listing
    if before.status == after.status:
        has_changed = any(getattr(before, name) != getattr(after, name) for name in REPORTED)
        return "domain.updated" if has_changed else ""
    ends = {VERIFIED: "domain.verified", FAILED: "domain.failed", PARTIALLY_FAILED: "domain.failed"}
    return ends.get(after.status, "domain.updated")


def findings_of(checks: Sequence[RecordCheck]) -> RecordCheckResults:
    required = [one for one in checks if one.record.required]
    return RecordCheckResults(
        _finding([one for one in required if one.record.purpose is Purpose.DKIM]),
        _finding([one for one in required if one.record.purpose is not Purpose.DKIM]),
    )


def _finding(checks: Sequence[RecordCheck]) -> RecordCheckResult:
    """A record that is wrong for certain counts before one that could not be looked up."""
    statuses = {one.status for one in checks}
    if statuses & {CheckStatus.MISSING, CheckStatus.WRONG}:
        return RecordCheckResult.WRONG
    return RecordCheckResult.UNKNOWN if CheckStatus.UNKNOWN in statuses else RecordCheckResult.RIGHT


def found_record(check: RecordCheck, *, last: bool) -> CheckedRecord:
    """last: the schedule has ended, so the record is no longer waited for."""
    record = check.record
    if check.status in RIGHT:
        status = RecordStatus.VERIFIED
    elif check.status is CheckStatus.UNKNOWN:
        status = RecordStatus.TEMPORARY_FAILURE
    else:
        missing = check.status is CheckStatus.MISSING and not last
        status = RecordStatus.PENDING if missing else RecordStatus.FAILED
    return CheckedRecord(
        record.name, record.type, record.purpose, status, check.found, check.reason
    )


def is_conclusive(checks: Sequence[RecordCheck]) -> bool:
    """Whether DNS has answered for every required record."""
    return all(one.status is not CheckStatus.UNKNOWN for one in checks if one.record.required)


def first_missing(checks: Sequence[RecordCheck]) -> str:
    """The first required record that is not right, in words; empty if all are."""
    for one in checks:
        if one.record.required and one.status not in RIGHT:
            return f"the {one.record.type} record at {one.record.name}"
    return ""
