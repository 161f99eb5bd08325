"""TLS reporting: RFC 8460. A daily report of TLS successes and failures to a domain."""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mail import headers, mime
from mail.address import AddressError, parse_mailbox
from mail.mime import Attachment

_URI = re.compile(r"(?:mailto:[^\s,;!]+|https://[^\s,;!]+)")


class PolicyKind(StrEnum):
    """The kind of policy that was applied (§4.4)."""

    STS = "sts"
    TLSA = "tlsa"
    NONE = "no-policy-found"


class ResultType(StrEnum):
    """Why a session failed (§4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """The policy applied to sessions. `lines`: as published. `mx`: its hosts."""

    kind: PolicyKind
    domain: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()

    @property
    def octets(self) -> int:
        """About how many it has in a report."""
        return sum(map(len, (*self.lines, *self.mx)))


@dataclass(frozen=True, slots=True)
class FailedSession:
    """One failed session."""

    result: ResultType
    sending_ip: str
    receiving_host: str
    receiving_ip: str = ""
    reason_code: str = ""


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """The sessions under one policy in the period of the report. failures: with their numbers."""

    policy: AppliedPolicy
    successes: int
    failures: Mapping[FailedSession, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportingOrganization:
    """The reporting organization and its contact address."""

    organization: str
    contact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsReport:
    """The report to a domain on a period. start, end: timezone-aware, in UTC."""

    domain: str
    reporter: ReportingOrganization
    start: datetime
    end: datetime
    results: tuple[PolicyResult, ...]

    @property
    def submitter(self) -> str:
        """The domain that sends the report."""
        return self.reporter.contact.rpartition("@")[2]

    @property
    def identifier(self) -> str:
        """The same for each copy, so that the recipient recognizes repeats."""
        return f"{self.start:%Y-%m-%d}.{self.domain}@{self.submitter}"

    def encode(self) -> bytes:
        """The report as gzipped JSON."""
        return encode_report(
            self.results, self.reporter, start=self.start, end=self.end, report_id=self.identifier
        )

    def message(self, to: str, *, date: datetime) -> bytes:
        """The report as mail (§5.3), unsigned. Raises AddressError."""
        subject = f"Report Domain: {self.domain} Submitter: {self.submitter}"
        filename = report_filename(self.submitter, self.domain, start=self.start, end=self.end)
        file = Attachment(filename, self.encode(), "application/tlsrpt+gzip")
        text = f"This is an aggregate TLS report from {self.submitter} for {self.domain}."
        seed = b"tlsrpt"
        parts = [mime.text_part("plain", text), mime.attachment_part(file, seed)]
        root = mime.multipart('report; report-type="tlsrpt"', parts, seed)
        fields = (
            headers.date_field(date),
            headers.address_list_field("From", [parse_mailbox(self.reporter.contact)]),
            headers.address_list_field("To", [parse_mailbox(to)]),
            headers.text_field("Subject", f"{subject} Report-ID: <{self.identifier}>"),
            headers.message_id_field(self.identifier),
            headers.encode_field("TLS-Report-Domain", self.domain),
            headers.encode_field("TLS-Report-Submitter", self.submitter),
            b"MIME-Version: 1.0\r\n",
        )
        return b"".join((*fields, *root.headers, b"\r\n", root.body))


def record_name(domain: str) -> str:
    """The name of the TXT record."""
    return f"_smtp._tls.{domain}"


def parse_destinations(records: Iterable[str]) -> tuple[str, ...]:
    """The `rua` addresses of a domain (§3); empty without exactly one valid record."""
    found = [text for text in records if re.match(r"v=TLSRPTv1\s*;", text)]
    if len(found) != 1:
        return ()
    match = re.search(r";\s*rua=([^;]*)", found[0])
    given = [uri.strip() for uri in match[1].split(",")] if match else []
    return tuple(uri for uri in given if _is_destination(uri))


def _is_destination(uri: str) -> bool:
    if not _URI.fullmatch(uri):
        return False
    if not uri.startswith("mailto:"):
        return True
    try:
        parse_mailbox(uri.removeprefix("mailto:"))
    except AddressError:
        return False
    return True


def encode_report(
    results: Iterable[PolicyResult],
    reporter: ReportingOrganization,
    *,
    start: datetime,
    end: datetime,
    report_id: str,
) -> bytes:
    """The report as gzipped JSON (§4.4, §5.3). Times must be timezone-aware, in UTC."""
    body = {
        "organization-name": reporter.organization,
        "date-range": {"start-datetime": _time(start), "end-datetime": _time(end)},
        "contact-info": reporter.contact,
        "report-id": report_id,
        "policies": [_policy(result) for result in results],
    }
    return gzip.compress(json.dumps(body, ensure_ascii=False).encode("utf-8"), mtime=0)


def report_filename(
    reporter_domain: str, policy_domain: str, *, start: datetime, end: datetime
) -> str:
    """The name of the attachment (§5.1)."""
    stamps = f"{int(start.timestamp())}!{int(end.timestamp())}"
    return f"{reporter_domain}!{policy_domain}!{stamps}.json.gz"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _policy(result: PolicyResult) -> dict[str, object]:
    policy: dict[str, object] = {
        "policy-type": result.policy.kind,
        "policy-domain": result.policy.domain,
    }
    if result.policy.lines:
        policy["policy-string"] = list(result.policy.lines)
    if result.policy.mx:
        policy["mx-host"] = list(result.policy.mx)
    entry: dict[str, object] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": result.successes,
            "total-failure-session-count": sum(result.failures.values()),
        },
    }
    if result.failures:
        entry["failure-details"] = [_detail(one, count) for one, count in result.failures.items()]
    return entry


def _detail(failure: FailedSession, count: int) -> dict[str, object]:
    detail: dict[str, object] = {
        "result-type": failure.result,
        "receiving-mx-hostname": failure.receiving_host,
        "failed-session-count": count,
    }
    if failure.sending_ip:
        detail["sending-mta-ip"] = failure.sending_ip
    if failure.receiving_ip:
        detail["receiving-ip"] = failure.receiving_ip
    if failure.reason_code:
        detail["failure-reason-code"] = failure.reason_code[:256]
    return detail
