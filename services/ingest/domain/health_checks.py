"""Health checks: what must be so for mail to leave and arrive, and how to mend what is not.

Each function judges what was found. Where nothing could be found out, because DNS does not answer,
the finding is unknown, and an earlier one stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from contracts.kernel.v1.status_service_pb2 import GetStatusResponse
from contracts.router.v1.directory_pb2 import Pool
from contracts.router.v1.policy_service_pb2 import Cell, Source
from mail.domain_check import CheckStatus as RecordStatus
from mail.domain_check import RecordCheck

SKEW_MAX_S = 1.0
CERTIFICATE_DAYS_MIN = 7.0
USABLE = ("warming", "active")
OF_SOURCES = ("ptr", "forward", "spf", "egress_host")
DNSBL, POOL, TENANTS, CELL = "dnsbl", "pool_active", "tenant_pools", "cell_owner"
SERVICE, KEYS, CLOCK, PARTITIONS = "service", "secret_keys", "clock", "partitions"
SETTINGS = "settings"
HOST, BOUNCE_MX, CANARY, DKIM = "brand_host", "bounce_mx", "canary", "dkim"
BOUNCES = "infrastructure_bounces"
# Refused because of reverse DNS, EHLO, SPF or DKIM; because of the reputation of an address.
BOUNCE_CLASSES = ("authentication_failed", "spam_block")
CANARY_AGE_MAX_S = 300.0
PUBLISHED = (RecordStatus.OK, RecordStatus.WEAK)
ALL = "all"  # the subject of a check of all tenants, or of all canaries


class HealthStatus(StrEnum):
    FAILED = "failed"
    UNKNOWN = "unknown"
    PASSED = "passed"


class HealthFinding(NamedTuple):
    """subject: an address, a pool, a host or a service. detail: what was found."""

    check: str
    subject: str
    status: HealthStatus
    detail: str = ""
    advice: str = ""


class HostTlsStatus(NamedTuple):
    """problem: why there is no connection, or why its certificate is not valid; empty if there is
    none; None: the lookup of its addresses failed. days_left: of the certificate."""

    host: str
    problem: str | None
    days_left: float = 0.0


class CanaryStatus(NamedTuple):
    """missed: since the last that was delivered; delivered_at: seconds since 1970, or 0."""

    name: str
    missed: float
    delivered_at: float


def overall(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """Of a report: unknown until something was checked."""
    found = set(statuses)
    if HealthStatus.FAILED in found:
        return HealthStatus.FAILED
    return HealthStatus.PASSED if found else HealthStatus.UNKNOWN


def passed(check: str, subject: str, detail: str = "") -> HealthFinding:
    return HealthFinding(check, subject, HealthStatus.PASSED, detail)


def unknown(check: str, subject: str) -> HealthFinding:
    """DNS does not answer."""
    return HealthFinding(check, subject, HealthStatus.UNKNOWN)


def failed(check: str, subject: str, detail: str, *, advice: str) -> HealthFinding:
    return HealthFinding(check, subject, HealthStatus.FAILED, detail, advice)


def find_sources(sources: Iterable[Source]) -> list[HealthFinding]:
    """By the router's own checks of each source, which has at least one address."""
    found = []
    for one in sources:
        addresses = [text for text in (one.source.source_ip, one.source.source_ipv6) if text]
        for address in addresses:
            found += [_of_source(one, address, check) for check in _checks_of(one)]
            listings = [each for each in one.listings if each.listed and each.address == address]
            found.append(_of_listings(address, sorted(each.blocklist for each in listings)))
    return found


def _checks_of(source: Source) -> Sequence[str]:
    hosted = bool(source.source.egress_host)
    return OF_SOURCES if hosted else [one for one in OF_SOURCES if one != "egress_host"]


def _of_source(source: Source, address: str, check: str) -> HealthFinding:
    for one in source.problems:
        if (one.check, one.address) == (check, address):
            return failed(check, address, one.problem, advice=one.advice)
    return passed(check, address)


def _of_listings(address: str, blocklists: Sequence[str]) -> HealthFinding:
    if not blocklists:
        return passed(DNSBL, address)
    advice = "Find out why at the list's website, stop the cause, then ask to be removed."
    return failed(DNSBL, address, f"listed by {', '.join(blocklists)}", advice=advice)


def find_pools(pools: Iterable[Pool], sources: Sequence[Source]) -> list[HealthFinding]:
    """Mail of a pool leaves only by a source that is active or warming up."""
    found = []
    for pool in pools:
        own = [one.state for one in sources if one.source.pool_id == pool.pool_id]
        usable = sum(state in USABLE for state in own)
        detail = f"{usable} of {len(own)} sources are active or warming"
        if usable:
            found.append(passed(POOL, pool.name, detail))
        else:
            advice = f"Add a source with `obm egress add … --pool {pool.name}`, or resume one."
            found.append(failed(POOL, pool.name, detail, advice=advice))
    return found


def find_tenants(astray: Sequence[str]) -> HealthFinding:
    """astray: names of some tenants whose pool does not exist."""
    if not astray:
        return passed(TENANTS, ALL)
    advice = "Give them a pool: `obm tenant update … --pool NAME`."
    return failed(TENANTS, ALL, f"no pool: {', '.join(astray)}", advice=advice)


def find_cells(cells: Iterable[Cell]) -> list[HealthFinding]:
    """Mail of the pools of a cell leaves only while a process of the router owns it."""
    advice = "Start a process of router. One runs: its log says why it does not take the cell."
    return [
        passed(CELL, one.cell, f"owned, with {one.pools} pools")
        if one.owner
        else failed(CELL, one.cell, f"has no owner; {one.pools} pools wait", advice=advice)
        for one in cells
    ]


def find_key(check: RecordCheck) -> HealthFinding:
    """The record of a key with which the installation signs."""
    record = check.record
    if check.status is RecordStatus.UNKNOWN:
        return unknown(DKIM, record.name)
    if check.status in PUBLISHED:
        return passed(DKIM, record.name, check.reason)
    advice = f"Publish a {record.type} record at {record.name}: {record.value}"
    return failed(DKIM, record.name, check.reason, advice=advice)


def find_no_domain(pool: str) -> HealthFinding:
    """The feedback domain of the pool was removed."""
    advice = f"Name another: `obm pool set-feedback-domain {pool} …`."
    return failed(DKIM, pool, "the feedback domain of the pool was removed", advice=advice)


def find_zone(zone: str, checks: Sequence[RecordCheck]) -> list[HealthFinding]:
    """A zone of the installation with keys of domains."""
    known = [one for one in checks if one.status is not RecordStatus.UNKNOWN]
    wrong = [one for one in known if one.status not in PUBLISHED]
    if not wrong and len(known) < len(checks):
        return [unknown(DKIM, zone)]
    if not wrong:
        return [passed(DKIM, zone, f"{len(known)} keys are published")]
    detail = f"{len(wrong)} of {len(known)} keys are not published: {wrong[0].reason}"
    advice = f"Publish the records of `GET /v1/dkim-zone?zone={zone}`, all of them."
    return [failed(DKIM, zone, detail, advice=advice)]


def find_services(
    own: GetStatusResponse, others: Mapping[str, GetStatusResponse | None]
) -> list[HealthFinding]:
    """own: of ingest. others: by name; None: it does not respond."""
    found = []
    for name, status in {"ingest": own, **others}.items():
        if status is None:
            advice = "Does it run, and has it the same OBM_RPC_TOKEN? GET /ready of it says more."
            found.append(failed(SERVICE, name, "does not respond", advice=advice))
            continue
        found += [passed(SERVICE, name), _of_keys(name, status, own), _of_settings(name, status)]
        if status.HasField("clock_ahead_s"):
            found += [_of_clock(name, status), _of_partitions(name, status)]
    return found


def _of_keys(name: str, status: GetStatusResponse, own: GetStatusResponse) -> HealthFinding:
    detail = f"{len(status.key_ids)} keys, the first is {next(iter(status.key_ids), '')}"
    if status.key_ids == own.key_ids:
        return passed(KEYS, name, detail)
    advice = "Give all services the same OBM_SECRET_KEYS, in the same order, and restart them."
    return failed(KEYS, name, f"{detail}; not those of ingest", advice=advice)


def _of_settings(name: str, status: GetStatusResponse) -> HealthFinding:
    if not status.missing_settings:
        return passed(SETTINGS, name)
    detail = f"not set: {', '.join(status.missing_settings)}"
    advice = "Set it. docs/run-it-for-real.md says what is lost without it."
    return failed(SETTINGS, name, detail, advice=advice)


def _of_clock(name: str, status: GetStatusResponse) -> HealthFinding:
    detail = f"{status.clock_ahead_s:+.3f} s ahead of PostgreSQL"
    if abs(status.clock_ahead_s) < SKEW_MAX_S:
        return passed(CLOCK, name, detail)
    advice = "Let NTP set the clocks of this machine and of PostgreSQL's."
    return failed(CLOCK, name, detail, advice=advice)


def _of_partitions(name: str, status: GetStatusResponse) -> HealthFinding:
    if not status.missing_partitions:
        return passed(PARTITIONS, name)
    detail = f"missing: {', '.join(status.missing_partitions)}"
    advice = f"{name} creates them days ahead, every hour: its log says why it does not."
    return failed(PARTITIONS, name, detail, advice=advice)


def find_host(facts: HostTlsStatus) -> HealthFinding:
    """A host name of a brand, by HTTPS."""
    if facts.problem is None:
        return unknown(HOST, facts.host)
    if facts.problem:
        advice = f"Let {facts.host} lead to this installation, with a certificate for that name."
        return failed(HOST, facts.host, facts.problem, advice=advice)
    detail = f"the certificate is valid for {facts.days_left:.0f} days"
    if facts.days_left >= CERTIFICATE_DAYS_MIN:
        return passed(HOST, facts.host, detail)
    return failed(HOST, facts.host, detail, advice="Renew the certificate.")


def find_bounce_mx(host: str, addresses: Sequence[str] | None) -> HealthFinding:
    """addresses: of the host; None: the lookup failed. Servers return bounces to it."""
    if addresses is None:
        return unknown(BOUNCE_MX, host)
    if addresses:
        return passed(BOUNCE_MX, host, ", ".join(addresses))
    advice = f"Publish an A record for {host}: the address where port 25 leads to delivery."
    return failed(BOUNCE_MX, host, "has no address", advice=advice)


def find_unread(unread: Mapping[str, int], *, days: int) -> list[HealthFinding]:
    """unread: mail that was refused because of the installation in the last days, by bounce class,
    without what an operator has read of."""
    found = []
    for name in BOUNCE_CLASSES:
        count = unread.get(name, 0)
        detail = f"{count} refused in the last {days} days, and not read yet"
        if not count:
            found.append(passed(BOUNCES, name))
            continue
        advice = (
            f"Read the replies: `obm overrides list`, and the events with bounce_class {name}."
            " Mend their cause, then `obm doctor --mark-read`."
        )
        found.append(failed(BOUNCES, name, detail, advice=advice))
    return found


def find_canaries(canaries: Iterable[CanaryStatus], *, now_s: float) -> list[HealthFinding]:
    """One of each pool in five minutes. now_s: seconds since 1970. Before the first of a probe that
    has just started, nothing is found."""
    found = []
    for one in canaries:
        age_s = now_s - one.delivered_at
        if age_s <= CANARY_AGE_MAX_S:
            found.append(passed(CANARY, one.name, f"delivered {max(0, age_s):.0f} s ago"))
        elif one.delivered_at or one.missed:
            last = f"{age_s:.0f} s ago" if one.delivered_at else "before the probe started"
            detail = f"{one.missed:.0f} missed in a row, the last delivered {last}"
            advice = "The log of `obm probe` says why each was missed: probe.missed."
            found.append(failed(CANARY, one.name, detail, advice=advice))
    return found


def find_no_probe(problem: str) -> HealthFinding:
    """Its metrics could not be read."""
    advice = "Start `obm probe`, or unset INGEST_PROBE_METRICS_URL."
    return failed(CANARY, ALL, f"the probe does not respond: {problem}", advice=advice)
