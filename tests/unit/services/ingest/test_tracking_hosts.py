"""A domain's own host for links in mail."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.ingest.v1.directory_pb2 import Domain, DomainStatus, HostCertificate, TrackingHost
from kernel.brand import Brand, Brands
from mail.domain_check import CheckStatus, RecordCheck
from mail.records import tracking_record
from services.ingest.domain.problem import Problem
from services.ingest.domain.tracking_host import (
    LinkHosts,
    apply_checks,
    check_host,
    host_below,
    label_of,
    record_of_host,
)
from services.ingest.domain.verification import VerificationProgress, delay_to_next
from services.ingest.store.domains import VerificationState, set_fields

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
HOST, TARGET = "links.shop.example", "links.brand.example"


def domain(name: str = "a", **fields: object) -> Domain:
    given = {"tracking_host": HOST, "tracking_target": TARGET, "tracking_verified": True}
    return Domain(domain_id=name, name="shop.example", **given | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "before", "verified"),
    [
        (CheckStatus.OK, False, True),
        (CheckStatus.MISSING, True, False),
        (CheckStatus.WRONG, True, False),
        (CheckStatus.UNKNOWN, True, True),
        (CheckStatus.UNKNOWN, False, False),
    ],
)
def test_what_dns_answers_counts_and_a_failed_lookup_changes_nothing(
    status: CheckStatus, before: bool, verified: bool
) -> None:
    checked = domain(tracking_verified=before)
    apply_checks(checked, [RecordCheck(tracking_record(HOST, TARGET), status)])
    assert checked.tracking_verified is verified


@pytest.mark.parametrize(
    ("expires_in_s", "problem", "forbidden", "status"),
    [
        (None, "", False, "pending"), (None, "dns", False, "failed"),
        (None, "caa", True, "forbidden"), (0, "caa", True, "forbidden"),
        (60, "away", False, "issued"), (60, "caa", True, "issued"), (0, "", False, "expired"),
    ],
)  # fmt: skip
def test_a_host_is_used_while_it_has_a_certificate(
    expires_in_s: int | None, problem: str, forbidden: bool, status: str
) -> None:
    certificate = HostCertificate(problem=problem, forbidden=forbidden)
    record = TrackingHost(host=HOST, certificate=certificate)
    if expires_in_s is not None:
        record.certificate.expires_at.FromDatetime(NOW + timedelta(seconds=expires_in_s))
    hosts = LinkHosts({HOST: record}.get, is_certified=True)
    proven = domain(status=DomainStatus.DOMAIN_STATUS_VERIFIED)
    assert hosts.own_host(proven, NOW) == (HOST if status == "issued" else "")
    found = hosts.certificate_status(proven, NOW)
    assert found is not None
    assert (found.status, found.certificate.problem) == (status, problem)


def test_without_an_authority_a_host_is_used_once_it_is_verified() -> None:
    hosts = LinkHosts(lambda _: None, is_certified=False)
    proven = domain(status=DomainStatus.DOMAIN_STATUS_VERIFIED)
    assert (hosts.own_host(proven, NOW), hosts.certificate_status(proven, NOW)) == (HOST, None)
    unknown = LinkHosts(lambda _: None, is_certified=True)
    assert unknown.own_host(proven, NOW) == ""
    assert unknown.certificate_status(Domain(name="shop.example"), NOW) is None


def test_a_record_follows_the_domain_that_has_found_the_alias() -> None:
    assert record_of_host(domain(tracking_verified=False), None) is None
    first = record_of_host(domain(), None)
    assert first is not None
    assert (first.host, first.target, first.active) == (HOST, TARGET, True)
    first.version = 7
    first.certificate.version = 3
    assert record_of_host(domain(), first) is None, "nothing has changed"
    other = domain("b", tracking_target="links.other.example", tracking_verified=False)
    assert record_of_host(other, first) is None, "it has not found the alias"
    lost = record_of_host(domain(tracking_verified=False), first)
    assert lost == TrackingHost(
        tracking_host_id=first.tracking_host_id, version=7, domain_id="a",
        host=HOST, target=TARGET, active=False, certificate=HostCertificate(version=3),
    )  # fmt: skip


def test_only_a_proven_domain_takes_over_the_record_of_another_one() -> None:
    first = record_of_host(domain(), None)
    stranger = domain("b", status=DomainStatus.DOMAIN_STATUS_NOT_STARTED)
    assert record_of_host(stranger, first) is None, "anybody can add a name with an alias of others"
    successor = domain("b", status=DomainStatus.DOMAIN_STATUS_VERIFIED)
    taken = record_of_host(successor, first)
    assert taken is not None
    assert taken.domain_id == "b"
    assert record_of_host(domain(tracking_verified=False), taken) is None


@pytest.mark.parametrize("host", ["bounce.shop.example", "links.brand.example"])
def test_a_host_that_is_used_otherwise_is_refused(host: str) -> None:
    brands = Brands({"brand": Brand(tracking_host=TARGET)})
    with pytest.raises(Problem) as refused:
        check_host(host, return_path_host="bounce.shop.example", brands=brands)
    assert refused.value.faults[0].pointer == "#/tracking_subdomain"
    check_host(HOST, return_path_host="bounce.shop.example", brands=brands)


def test_a_label_makes_a_host() -> None:
    assert host_below("shop.example", "Links") == HOST
    assert host_below("shop.example", "") == ""
    assert label_of(domain()) == "links"
    assert label_of(Domain(name="shop.example")) == ""


def test_a_new_host_is_looked_for_soon_and_is_not_verified_yet() -> None:
    changed = domain(status=DomainStatus.DOMAIN_STATUS_VERIFIED)
    check = VerificationState(
        VerificationProgress(changed.status, NOW - timedelta(days=9), checks=80)
    )
    again = set_fields(changed, check, NOW, given={"tracking_host": HOST, "tls_enforced": True})
    assert (again, changed.tracking_verified) == (check, True)
    new = set_fields(changed, check, NOW, given={"tracking_host": "t.shop.example"})
    assert (new.due_at, changed.tracking_verified) == (NOW + timedelta(minutes=1), False)
    assert changed.status == DomainStatus.DOMAIN_STATUS_VERIFIED
    assert delay_to_next(new.verification, waiting=True) == timedelta(minutes=1)
    assert delay_to_next(new.verification) == timedelta(hours=1)
    none = set_fields(changed, check, NOW, given={"tracking_host": "", "tracking_target": ""})
    assert none == check
