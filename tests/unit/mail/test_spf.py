"""Whether an SPF record authorizes an address, with records in memory."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.spf import LOOKUPS_MAX, SpfResult, check_host

Records = Mapping[tuple[str, str], list[str] | None]
IPV4, IPV6 = "192.0.2.10", "2001:db8::10"


def check(records: Records, address: str = IPV4, domain: str = "example.com") -> SpfResult:
    evaluation = check_host(address, domain)
    try:
        query = next(evaluation)
        while True:
            query = evaluation.send(records.get(query, []))
    except StopIteration as end:
        return SpfResult(end.value)


def record(text: str, **others: list[str] | None) -> Records:
    """others: values by type and host, such as A_out."""
    named = {}
    for name, values in others.items():
        kind, host = name.split("_")
        named[f"{host}.example.com", kind] = values
    return {("example.com", "TXT"): ["unrelated", text], **named}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("v=spf1 ip4:192.0.2.10 -all", SpfResult.PASS),
        ("v=spf1 ip4:192.0.2.0/24 -all", SpfResult.PASS),
        ("V=SPF1 IP4:192.0.2.10 -ALL", SpfResult.PASS),
        ("v=spf1 ip4:192.0.2.11 -all", SpfResult.FAIL),
        ("v=spf1 ip6:2001:db8::/32 ~all", SpfResult.SOFTFAIL),
        ("v=spf1 -ip4:192.0.2.10 +all", SpfResult.FAIL),
        ("v=spf1 ?all", SpfResult.NEUTRAL),
        ("v=spf1", SpfResult.NEUTRAL),
        ("v=spf1 unknown=modifier ip4:192.0.2.10", SpfResult.PASS),
        ("v=spf1 exp=why.example.com ip4:192.0.2.10", SpfResult.PASS),
        ("v=spf1 ptr -all", SpfResult.FAIL),
        ("v=spf1 ip4:nonsense -all", SpfResult.PERMERROR),
        ("v=spf1 mechanism:x -all", SpfResult.PERMERROR),
        ("v=spf1 exists:%{i}.example.com -all", SpfResult.UNKNOWN),
        ("v=spf10 +all", SpfResult.NONE),
    ],
)
def test_terms_match_in_order(text: str, result: SpfResult) -> None:
    assert check(record(text)) is result


def test_an_ipv6_address_matches_its_own_mechanisms() -> None:
    assert check(record("v=spf1 ip4:192.0.2.10 ip6:2001:db8::/32 -all"), IPV6) is SpfResult.PASS
    found = record("v=spf1 a:out.example.com -all", AAAA_out=[IPV6], A_out=[IPV4])
    assert check(found, IPV6) is check(found, IPV4) is SpfResult.PASS


def test_a_and_mx_resolve_hosts_with_a_prefix_for_each_family() -> None:
    found = record("v=spf1 a:out.example.com/24//64 -all", AAAA_out=["2001:db8::1"], A_out=[IPV4])
    assert check(found, "192.0.2.200") is check(found, "2001:db8::ffff") is SpfResult.PASS
    assert check(found, "192.0.3.1") is SpfResult.FAIL
    mx = {**record("v=spf1 mx -all", A_mx1=[IPV4]), ("example.com", "MX"): ["10 mx1.example.com."]}
    assert check(mx) is SpfResult.PASS
    assert check({**record("v=spf1 a -all"), ("example.com", "A"): [IPV4]}) is SpfResult.PASS


def test_included_and_redirected_records_count() -> None:
    included = {
        **record("v=spf1 include:_spf.example.net -all"),
        ("_spf.example.net", "TXT"): ["v=spf1 ip4:192.0.2.0/28 -all"],
    }
    assert check(included) is SpfResult.PASS
    assert check(included, "192.0.2.100") is SpfResult.FAIL
    redirected = {
        **record("v=spf1 redirect=_spf.example.net"),
        ("_spf.example.net", "TXT"): ["v=spf1 ip4:192.0.2.0/28 ~all"],
    }
    assert check(redirected) is SpfResult.PASS
    assert check(redirected, "192.0.2.100") is SpfResult.SOFTFAIL
    assert check(record("v=spf1 include:missing.example -all")) is SpfResult.PERMERROR


def test_a_lookup_without_an_answer_decides_nothing() -> None:
    assert check({("example.com", "TXT"): None}) is SpfResult.UNKNOWN
    assert check(record("v=spf1 a:out.example.com -all", A_out=None)) is SpfResult.UNKNOWN
    assert check({}) is SpfResult.NONE
    assert check({("example.com", "TXT"): ["v=spf1 -all", "v=spf1 +all"]}) is SpfResult.PERMERROR


def test_a_loop_of_includes_ends() -> None:
    assert check(record("v=spf1 include:example.com -all")) is SpfResult.PERMERROR
    chain: dict[tuple[str, str], list[str] | None] = {
        (f"s{number}.example", "TXT"): [f"v=spf1 include:s{number + 1}.example -all"]
        for number in range(LOOKUPS_MAX + 1)
    }
    chain["example.com", "TXT"] = ["v=spf1 include:s0.example -all"]
    assert check(chain) is SpfResult.PERMERROR


@given(st.text(alphabet="v=spf1 +-~?:/.%aimxe0123469ncludrt\t\u00e9", max_size=60))
def test_any_record_has_a_result(text: str) -> None:
    assert check(record(f"v=spf1 {text}")) in SpfResult
