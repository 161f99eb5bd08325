"""The DNS records that a sending domain should publish: SPF RFC 7208, DKIM RFC 6376, DMARC RFC 9989
(before: RFC 7489), the return path's own host RFC 5321 §4.4 and its MX, TLS-RPT RFC 8460.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mail import tls_rpt
from mail.dkim import zone_text


class Purpose(StrEnum):
    """The purpose of a record."""

    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    RETURN_PATH = "return_path"
    TLS_RPT = "tls-rpt"
    TRACKING = "tracking"


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record to publish. `value`: unquoted. `priority`: for MX. `required`: to send mail.
    `key`: of a CNAME, the DKIM record that its target must have."""

    purpose: Purpose
    name: str
    type: str
    value: str
    priority: int | None = None
    required: bool = True
    key: str = ""

    @property
    def queried_type(self) -> str:
        """What to look up: a resolver follows the alias of a key."""
        return "TXT" if self.key else self.type

    @property
    def zone_line(self) -> str:
        """The record as a line of a zone file; long text in strings of at most 255 octets."""
        if self.type == "TXT":
            value = zone_text(self.value)
        else:
            value = f"{self.priority} {self.value}." if self.type == "MX" else f"{self.value}."
        return f"{self.name}. IN {self.type} {value}"


def key_record(
    domain: str, selector: str, value: str, *, target: str = "", required: bool = True
) -> DnsRecord:
    """The record of a DKIM key (RFC 6376 §3.6.2.1). target: the name that has it in another zone;
    then the domain has an alias; empty: the domain has it."""
    name = f"{selector}._domainkey.{domain}"
    if target:
        return DnsRecord(Purpose.DKIM, name, "CNAME", target, required=required, key=value)
    return DnsRecord(Purpose.DKIM, name, "TXT", value, required=required)


def tracking_record(host: str, target: str) -> DnsRecord:
    """The alias of a domain's own host for links in mail. Mail can be sent without it."""
    return DnsRecord(Purpose.TRACKING, host, "CNAME", target, required=False)


def expected_records(
    domain: str,
    *,
    dkim: Sequence[DnsRecord],
    return_path_host: str,
    bounce_mx: str,
    spf_include: str,
    dmarc_report: str = "",
    tls_report: str = "",
) -> tuple[DnsRecord, ...]:
    """The records that `domain` should publish.

    `dkim`: of each key, see `key_record`. `return_path_host`: the host of our return path,
    a subdomain so that SPF aligns (RFC 9989 §4.4: relaxed); `bounce_mx` receives its mail.
    `spf_include`: the host whose SPF record lists our source addresses. `dmarc_report`,
    `tls_report`: addresses for reports about it; empty: none. The domain itself needs no SPF
    record, because it is not in the envelope.
    """
    dmarc = "v=DMARC1; p=none" + (f"; rua=mailto:{dmarc_report}" if dmarc_report else "")
    tls = DnsRecord(
        Purpose.TLS_RPT, tls_rpt.record_name(domain), "TXT",
        f"v=TLSRPTv1; rua=mailto:{tls_report}", required=False,
    )  # fmt: skip
    return (
        *dkim,
        DnsRecord(Purpose.SPF, return_path_host, "TXT", f"v=spf1 include:{spf_include} -all"),
        DnsRecord(Purpose.RETURN_PATH, return_path_host, "MX", bounce_mx, priority=10),
        DnsRecord(Purpose.DMARC, f"_dmarc.{domain}", "TXT", dmarc, required=False),
        *([tls] if tls_report else []),
    )
