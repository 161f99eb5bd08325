"""A domain's own host for links in mail: a name below it, whose CNAME leads to the tracking host of
its account's brand."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import NAMESPACE_DNS, uuid5

from contracts.ingest.v1.directory_pb2 import Domain, HostCertificate, TrackingHost
from kernel.brand import Brands
from mail.domain_check import CheckStatus, RecordCheck
from mail.records import Purpose
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.verification import RIGHT, may_send

POINTER = "#/tracking_subdomain"


class CertificateStatus(NamedTuple):
    """status: pending, issued, forbidden, failed or expired."""

    status: str
    certificate: HostCertificate


class LinkHosts:
    """The hosts of domains that links in new mail can have. find: the record of a host.
    is_certified: whether a certificate of the installation is needed."""

    def __init__(self, find: Callable[[str], TrackingHost | None], *, is_certified: bool) -> None:
        self._find = find
        self._is_certified = is_certified

    def own_host(self, domain: Domain, now: datetime) -> str:
        """The domain's own; empty without one that works. A domain that is not proven could name
        the host of another account."""
        if not (domain.tracking_verified and may_send(domain)):
            return ""
        host = domain.tracking_host
        return host if not self._is_certified or self._has_certificate(host, now) else ""

    def _has_certificate(self, host: str, now: datetime) -> bool:
        record = self._find(host)
        return record is not None and record.certificate.expires_at.ToSeconds() > now.timestamp()

    def certificate_status(self, domain: Domain, now: datetime) -> CertificateStatus | None:
        """None if the domain has no host, or the installation orders no certificates."""
        if not domain.tracking_host or not self._is_certified:
            return None
        record = self._find(domain.tracking_host)
        certificate = record.certificate if record is not None else HostCertificate()
        return CertificateStatus(_status_word(certificate, now), certificate)


def _status_word(certificate: HostCertificate, now: datetime) -> str:
    if certificate.expires_at.ToSeconds() > now.timestamp():
        return "issued"
    if certificate.forbidden:
        return "forbidden"
    if certificate.HasField("expires_at"):
        return "expired"
    return "failed" if certificate.problem else "pending"


def host_below(domain: str, label: str) -> str:
    """label: empty for no host."""
    return f"{label.lower()}.{domain}" if label else ""


def label_of(domain: Domain) -> str:
    return domain.tracking_host.removesuffix(f".{domain.name}")


def check_host(host: str, *, return_path_host: str, brands: Brands) -> None:
    """Raises Problem if the domain cannot have this host."""
    if host == return_path_host:
        detail = f"{host} is the host of the return path, and a CNAME allows no other record."
        raise invalid([Fault(POINTER, "invalid", f"{detail} Choose another label.")])
    if brands.find_host(host) is not None:
        detail = f"{host} is a host of this installation. Choose another label."
        raise invalid([Fault(POINTER, "invalid", detail)])


def too_many_hosts(count: int) -> Problem:
    detail = f"The tenant has had {count:,} tracking hosts, whose old links still work."
    return invalid([Fault(POINTER, "too_many", f"{detail} Use one of them.")])


def apply_checks(domain: Domain, checks: Sequence[RecordCheck]) -> None:
    """Change the domain by what was found. A failed lookup changes nothing."""
    for one in checks:
        if one.record.purpose is Purpose.TRACKING and one.status is not CheckStatus.UNKNOWN:
            domain.tracking_verified = one.status in RIGHT


def is_pending(domain: Domain) -> bool:
    return bool(domain.tracking_host and not domain.tracking_verified)


def id_of_host(host: str) -> str:
    return str(uuid5(NAMESPACE_DNS, host))


def record_of_host(domain: Domain, known: TrackingHost | None) -> TrackingHost | None:
    """The record of a domain's host after a check; None if it stays as it is. known: the one before
    the check. Two accounts may have one name, so a domain that has not found the CNAME, or is not
    proven, does not change what another one has found."""
    found = TrackingHost(
        tracking_host_id=id_of_host(domain.tracking_host),
        tenant_id=domain.tenant_id,
        account_id=domain.account_id,
        domain_id=domain.domain_id,
        host=domain.tracking_host,
        target=domain.tracking_target,
        active=domain.tracking_verified,
    )
    if known is None:
        return found if found.active else None
    if known.domain_id != found.domain_id and not (found.active and may_send(domain)):
        return None
    found.version = known.version
    if known.HasField("certificate"):
        found.certificate.CopyFrom(known.certificate)
    return None if found == known else found
