from contracts.ingest.v1.directory_pb2 import Domain
from services.delivery.domain.hourly_allowance import HourlyAllowance
from services.delivery.domain.return_path_hosts import ReturnPathHosts


def test_a_host_of_two_domains_stays_until_both_are_gone() -> None:
    hosts = ReturnPathHosts("mx.a.example")
    first, second = (Domain(domain_id=one, return_path_host="b.example") for one in "12")
    for one in (first, second):
        hosts.put(one)
    for one in (first, second):
        assert "b.example" in hosts
        one.deleted = True
        hosts.put(one)
        hosts.put(one)
    assert "b.example" not in hosts
    assert "mx.a.example" in hosts


def test_an_allowance_refills_with_time() -> None:
    allowance = HourlyAllowance(2)
    assert [allowance.take(0.0) for _ in range(3)] == [True, True, False]
    assert [allowance.take(1799.0), allowance.take(1800.0), allowance.take(1801.0)] == [
        False, True, False,
    ]  # fmt: skip
