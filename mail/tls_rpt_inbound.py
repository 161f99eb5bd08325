"""TLS reports of others about the hosts of a domain: RFC 8460 §4.4. They come from strangers."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mail.dmarc_report import COUNT_MAX, ReportError
from mail.tls_rpt import PolicyKind, ResultType

POLICIES_MAX = 100
DETAILS_MAX = 1_000  # of a policy
TEXT_MAX = 255
OCTETS_MAX = 2 << 20  # of JSON, which takes many times as much memory
OTHER = "other"  # an unknown kind of policy or result


@dataclass(frozen=True, slots=True)
class TlsSessions:
    """Sessions with one result. result: empty if they had TLS as the policy asks. host: of the
    receiving server."""

    policy: str
    result: str
    sending_ip: str
    host: str
    sessions: int


@dataclass(frozen=True, slots=True)
class InboundTlsReport:
    """organization: the reporter. domain: in lower case. begin: of the period."""

    organization: str
    report_id: str
    domain: str
    begin: datetime
    sessions: tuple[TlsSessions, ...]


def parse(text: bytes) -> InboundTlsReport:
    """Raises ReportError."""
    if len(text) > OCTETS_MAX:
        raise ReportError(f"it is larger than {OCTETS_MAX} octets")
    try:
        report = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"it is not JSON: {str(error)[:100]}") from None
    policies = _objects(_object(report).get("policies"))[:POLICIES_MAX]
    domains = [_text(_object(one.get("policy")).get("policy-domain")) for one in policies]
    if not domains or not domains[0]:
        raise ReportError("it names no domain")
    return InboundTlsReport(
        _text(report.get("organization-name")),
        _text(report.get("report-id")),
        domains[0].lower().rstrip("."),
        _time(_text(_object(report.get("date-range")).get("start-datetime"))),
        tuple(one for policy in policies for one in _sessions(policy)),
    )


def _sessions(entry: dict[str, Any]) -> list[TlsSessions]:
    kind = _known(_object(entry.get("policy")).get("policy-type"), PolicyKind)
    summary = _object(entry.get("summary"))
    successes = _count(summary.get("total-successful-session-count"))
    failures = _count(summary.get("total-failure-session-count"))
    found = [TlsSessions(kind, "", "", "", successes)]
    for one in _objects(entry.get("failure-details"))[:DETAILS_MAX]:
        sessions = min(_count(one.get("failed-session-count")), failures)
        failures -= sessions
        found.append(
            TlsSessions(
                kind,
                _known(one.get("result-type"), ResultType),
                _text(one.get("sending-mta-ip")),
                _text(one.get("receiving-mx-hostname")).lower().rstrip("."),
                sessions,
            )
        )
    found.append(TlsSessions(kind, OTHER, "", "", failures))  # those without details
    return [one for one in found if one.sessions]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _known(value: object, kinds: type[PolicyKind] | type[ResultType]) -> str:
    return value if isinstance(value, str) and value in {*kinds} else OTHER


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value[:TEXT_MAX] if char.isprintable()).strip()


def _count(value: object) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return max(0, min(value, COUNT_MAX)) if is_number else 0  # type: ignore[call-overload]


def _time(text: str) -> datetime:
    """Raises ReportError."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ReportError("it has no valid period") from None
