"""What a report about a domain (DMARC, TLS) adds to its figures.

A child process reads the report, because it comes from strangers, and merges its records: the
parent gets a bounded number of rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import TypeAlias, Union

import msgspec

from contracts.ingest.v1.directory_pb2 import Domain
from mail import domain_report
from mail.dmarc_report import AuthResult, DmarcRecord, DmarcReport, ReportError
from mail.tls_rpt_inbound import InboundTlsReport, TlsSessions

ROWS_MAX = 500  # of a report; the counts of all are summed
TEXT_MAX = 255  # characters
DMARC, TLS = "dmarc", "tls"
PAST, AHEAD = timedelta(days=30), timedelta(days=1)  # periods of reports that count


class DmarcFigureKey(msgspec.Struct, frozen=True, tag=DMARC):
    """What messages are counted by. dkim_domain, dkim_selector: of the signature that counts, if
    there is one; spf_domain: of the envelope. own: this engine has sent them."""

    source_ip: str
    header_from: str
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    dkim_domain: str
    dkim_selector: str
    spf_domain: str
    own: bool = False

    @property
    def passed(self) -> bool:
        return self.dkim_aligned or self.spf_aligned


class TlsFigureKey(msgspec.Struct, frozen=True, tag=TLS):
    """What sessions are counted by. result: empty if the policy was met."""

    policy: str
    result: str
    sending_ip: str
    host: str

    @property
    def passed(self) -> bool:
        return not self.result


Detail: TypeAlias = Union[DmarcFigureKey, TlsFigureKey]


class DomainReportSummary(msgspec.Struct, frozen=True):
    """A report. kind: DMARC, TLS, or empty if it is none; then problem says why. day: of its begin,
    in UTC. rows: the largest ones. passed, failed: of all messages or sessions."""

    kind: str
    problem: str = ""
    domain: str = ""
    organization: str = ""
    report_id: str = ""
    day: date = date.min
    rows: tuple[tuple[Detail, int], ...] = ()
    passed: int = 0
    failed: int = 0


def create_reader(_: bytes) -> Callable[[Iterable[bytes]], list[bytes]]:
    """The work of the child process: see `kernel.child`."""
    return lambda mail: [msgspec.msgpack.encode(read(raw)) for raw in mail]


def decode(result: bytes) -> DomainReportSummary:
    """Raises msgspec.ValidationError or DecodeError."""
    return msgspec.msgpack.decode(result, type=DomainReportSummary)


def read(raw: bytes) -> DomainReportSummary:
    """Never raises."""
    try:
        report = domain_report.find_report(raw)
    except ReportError as error:
        return DomainReportSummary("", str(error))
    if isinstance(report, DmarcReport):
        return _figures(DMARC, report, ((_source(one), one.messages) for one in report.records))
    return _figures(TLS, report, ((_result(one), one.sessions) for one in report.sessions))


def _figures(
    kind: str, report: DmarcReport | InboundTlsReport, found: Iterable[tuple[Detail, int]]
) -> DomainReportSummary:
    counts: Counter[Detail] = Counter()
    for detail, count in found:
        counts[detail] += count
    passed = sum(count for detail, count in counts.items() if detail.passed)
    return DomainReportSummary(
        kind,
        "",
        report.domain[:TEXT_MAX],
        report.organization[:TEXT_MAX],
        report.report_id[:TEXT_MAX],
        report.begin.date(),
        tuple(counts.most_common(ROWS_MAX)),
        passed,
        counts.total() - passed,
    )


def _source(record: DmarcRecord) -> DmarcFigureKey:
    dkim = _best(record.dkim, record.header_from)
    return DmarcFigureKey(
        record.source_ip,
        record.header_from[:TEXT_MAX],
        record.disposition,
        record.dkim_aligned,
        record.spf_aligned,
        dkim.domain[:TEXT_MAX],
        dkim.selector[:TEXT_MAX],
        _best(record.spf, record.header_from).domain[:TEXT_MAX],
    )


def _best(results: Sequence[AuthResult], header_from: str) -> AuthResult:
    """One that passed, if possible for the domain of From."""

    def rank(one: AuthResult) -> tuple[bool, bool]:
        return one.result == "pass", is_related(one.domain, header_from)

    return max(results, key=rank, default=AuthResult("", ""))


def _result(one: TlsSessions) -> TlsFigureKey:
    return TlsFigureKey(one.policy, one.result, one.sending_ip, one.host)


def is_related(one: str, other: str) -> bool:
    """Whether two domains are the same, or one is above the other."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def is_current(figures: DomainReportSummary, today: date) -> bool:
    """Whether its period counts: what is forged or late must not fill the table."""
    return today - PAST <= figures.day <= today + AHEAD


def rows_of(figures: DomainReportSummary, domain: Domain) -> list[tuple[Detail, int]]:
    """The rows, with what this engine has sent for the domain marked."""
    keys = (domain, domain.pending_keys, domain.retired_keys)
    selectors = {one for key in keys for one in (key.rsa_selector, key.ed25519_selector) if one}
    return [(_marked(detail, domain, selectors), count) for detail, count in figures.rows]


def _marked(detail: Detail, domain: Domain, selectors: set[str]) -> Detail:
    if isinstance(detail, TlsFigureKey):
        return detail
    signed = (
        detail.dkim_aligned
        and detail.dkim_domain == domain.name
        and detail.dkim_selector in selectors
    )
    sent = detail.spf_aligned and detail.spf_domain == domain.return_path_host
    return msgspec.structs.replace(detail, own=signed or sent)
