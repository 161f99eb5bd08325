"""The responses of /v1/domains/{domain_id}/dmarc and /tls-reports."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.response_schemas import Id


class DmarcDay(Struct):
    """The reports that begin on a day."""

    day: str
    reports: int
    messages: int
    aligned: int


class DmarcSource(Struct):
    """Messages from one source that claim to be from the domain. own: this engine has sent them.
    dkim_domain, dkim_selector: of the signature that counts. spf_domain: of the envelope."""

    source_ip: str
    messages: int
    own: bool
    dkim_aligned: bool
    spf_aligned: bool
    disposition: Literal["none", "quarantine", "reject"]
    header_from: str
    dkim_domain: str
    dkim_selector: str
    spf_domain: str


class DomainDmarc(Struct):
    """Who sends as a domain. aligned: messages that passed DMARC. sources: at most 100, the largest
    first."""

    object: Literal["domain_dmarc"]
    domain_id: Id
    since: str
    until: str
    reports: int
    messages: int
    aligned: int
    days: list[DmarcDay]
    sources: list[DmarcSource]


class TlsReportsDay(Struct):
    """The reports that begin on a day."""

    day: str
    reports: int
    sessions: int
    successful: int


class TlsSessionResult(Struct):
    """Sessions of others with the servers of the domain. result: success, or the failure (RFC 8460
    §4.3)."""

    policy: Literal["sts", "tlsa", "no-policy-found", "other"]
    result: str
    sending_ip: str
    host: str
    sessions: int


class DomainTlsReports(Struct):
    """How other servers reach those of a domain. results: at most 100, the largest first."""

    object: Literal["domain_tls_reports"]
    domain_id: Id
    since: str
    until: str
    reports: int
    sessions: int
    successful: int
    days: list[TlsReportsDay]
    results: list[TlsSessionResult]
