import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import mta_sts
from mail.mta_sts import MtaStsMode, MtaStsPolicy, PolicyError

HEAD = b"version: STSv1\r\nmode: enforce\r\n"
GOOD = HEAD + b"mx: mail.b.example\r\nmx: *.b.example\r\nmax_age: 86400\r\n"


def test_a_policy_has_mode_hosts_and_age() -> None:
    policy = mta_sts.parse_policy(GOOD)
    assert policy == MtaStsPolicy(MtaStsMode.ENFORCE, ("mail.b.example", "*.b.example"), 86400)
    assert mta_sts.parse_policy("\n".join(policy.lines()).encode()) == policy


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.b.example", True),
        ("MX1.B.example.", True),
        ("a.mx1.b.example", False),
        ("b.example", False),
        ("mail.c.example", False),
    ],
)
def test_a_wildcard_is_one_label(host: str, allowed: bool) -> None:
    assert mta_sts.parse_policy(GOOD).allows(host) is allowed


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "version"),
        (GOOD.replace(b"STSv1", b"STSv2"), "version"),
        (GOOD.replace(b"enforce", b"maybe"), "mode"),
        (GOOD.replace(b"86400", b"-1"), "max_age"),
        (GOOD.replace(b"mx:", b"nx:"), "has no mx"),
        (GOOD.replace(b"*.b", b"*.*"), "not an MX host"),
        (GOOD + b"x" * 70_000, "longer"),
        (GOOD + b"mx: mail.b.example\r\n" * 99, "more than 100 mx"),
        (GOOD + b"mx: " + b"a." * 130 + b"example\r\n", "not an MX host"),
    ],
)
def test_an_invalid_policy_is_rejected_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        mta_sts.parse_policy(body)


def test_a_policy_is_cached_for_at_most_a_year() -> None:
    assert mta_sts.parse_policy(GOOD.replace(b"86400", b"9999999999")).max_age_s == mta_sts.MAX_AGE


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (("v=STSv1; id=20261123;",), "20261123"),
        (("v=spf1 -all", "v=STSv1;id=a1"), "a1"),
        (("v=STSv1; id=a", "v=STSv1; id=b"), None),
        (("v=STSv1;",), None),
        (("v=STSv1; later=yes; id=a2",), "a2"),
        (("v=STSv10; id=a", "v=STSv1; id=b"), "b"),
        (("v=STSv1; id=a-b",), None),
        (("v=STSv1; id=a; id=b",), None),
        ((), None),
    ],
)
def test_the_record_contains_the_policy_id(records: tuple[str, ...], found: str | None) -> None:
    assert mta_sts.policy_id(records) == found


@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_an_error(body: bytes) -> None:
    try:
        policy = mta_sts.parse_policy(body)
    except PolicyError:
        return
    assert 0 <= policy.max_age_s <= mta_sts.MAX_AGE


def test_record_name_and_url_follow_the_rfc() -> None:
    assert mta_sts.record_name("b.example") == "_mta-sts.b.example"
    assert mta_sts.policy_url("b.example") == "https://mta-sts.b.example/.well-known/mta-sts.txt"
