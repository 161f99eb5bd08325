"""Tokens, policies, records and rules round-trip, and other input is rejected."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import dkim as dkimpy
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
from hypothesis import given
from hypothesis import strategies as st

from mail import (
    bot_hits,
    dkim,
    dkim_canonicalization,
    domain_check,
    mta_sts,
    mx,
    records,
    signed_token,
    tls_rpt,
    tlsa,
    tracking,
    unsubscribe,
    verp,
)
from mail.bot_hits import TrackingHit
from mail.domain_check import CheckStatus
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.mx import Mx
from mail.records import DnsRecord
from mail.unsubscribe import Subscription
from tests.support.rsa_key import RSA_KEY

KEY, OLD = b"k" * 32, b"o" * 32
NOW = datetime(2026, 11, 23, tzinfo=UTC)
EVIL = st.text(max_size=60) | st.text(st.sampled_from('ab@.<>"\\ \t\r\n\0:;,é=?/%'), max_size=60)
LABEL = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example"]))
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.binary(min_size=1, max_size=20), st.binary(max_size=200), EVIL)
def test_a_token_verifies_only_for_its_purpose_and_key(
    purpose: bytes, payload: bytes, text: str
) -> None:
    sealed = signed_token.sign(purpose, payload, KEY)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sealed)
    assert signed_token.verify(purpose, sealed, (OLD, KEY)) == payload
    assert signed_token.verify(purpose, sealed, (OLD,)) is None
    assert signed_token.verify(purpose + b"x", sealed, (KEY,)) is None
    assert signed_token.verify(purpose, text, (KEY,)) is None


@given(st.uuids(), st.uuids(), UNICODE, UNICODE, st.booleans())
def test_an_unsubscribe_token_identifies_the_subscription(
    tenant: UUID, message: UUID, name: str, recipient: str, test: bool
) -> None:
    leaver = Subscription(tenant, message, name, recipient, test)
    assert unsubscribe.verify(unsubscribe.sign(leaver, KEY), (OLD, KEY)) == leaver


@given(EVIL, EVIL)
def test_no_unsubscribe_target_can_inject_a_header(url: str, mailto: str) -> None:
    for given_url in (url, f"https://x.example/{url}"):
        try:
            lines = unsubscribe.unsubscribe_fields(given_url, mailto or None)
        except ValueError:
            continue
        unfolded = [re.sub(rb"\r\n(?=[ \t])", b"", line) for line in lines]
        assert [line.count(b"\r\n") for line in unfolded] == [1, 1]


@given(st.uuids(), HOST)
def test_a_return_path_contains_its_message_id(message: UUID, host: str) -> None:
    made = verp.return_path(message, host, key=KEY)
    assert verp.parse_return_path(made.address, keys=(OLD, KEY)) == message
    assert verp.parse_return_path(made.local.upper(), keys=(KEY,)) == message
    assert verp.parse_return_path(made.local, keys=(OLD,)) is None
    assert len(made.local) <= 64


@given(st.uuids(), st.uuids(), EVIL | HOST.map("https://{}/é?a=1".format))
def test_a_tracking_link_leads_only_to_its_target(tenant: UUID, message: UUID, url: str) -> None:
    click = tracking.Click(tenant, message, url)
    try:
        sealed = tracking.click_token(click, KEY)
    except ValueError:
        assert not tracking.is_trackable(url)
        return
    assert tracking.read_click(sealed, (KEY,)) == click
    assert re.fullmatch(r"(?i)https?://[!-~]+", tracking.redirect_location(click))


@given(
    st.sampled_from(MtaStsMode), st.lists(HOST, min_size=1, max_size=5), st.integers(0, 31_557_600)
)
def test_a_policy_round_trips(mode: MtaStsMode, hosts: list[str], age: int) -> None:
    wild = [f"*.{host}" if index % 2 else host for index, host in enumerate(hosts)]
    policy = MtaStsPolicy(mode, tuple(wild), age)
    assert mta_sts.parse_policy("\r\n".join(policy.lines()).encode()) == policy
    assert policy.allows(f"{hosts[0].upper()}.")
    assert not policy.allows(f"x.y.{hosts[0]}")


FAILURE = st.builds(
    tls_rpt.FailedSession, st.sampled_from(tls_rpt.ResultType), UNICODE, UNICODE, UNICODE, UNICODE
)


@given(st.lists(FAILURE, max_size=6), st.integers(0, 10**9), UNICODE)
def test_a_tls_report_counts_every_failure(
    failures: Sequence[tls_rpt.FailedSession], successes: int, text: str
) -> None:
    applied = tls_rpt.AppliedPolicy(tls_rpt.PolicyKind.STS, text, (text,), (text,))
    day = tls_rpt.PolicyResult(applied, successes, Counter(failures))
    reporter = tls_rpt.ReportingOrganization(text, text)
    packed = tls_rpt.encode_report([day], reporter, start=NOW, end=NOW, report_id=text)
    policy = json.loads(gzip.decompress(packed))["policies"][0]
    counts = [detail["failed-session-count"] for detail in policy.get("failure-details", [])]
    assert sum(counts) == policy["summary"]["total-failure-session-count"] == len(failures)
    assert policy["policy"]["policy-domain"] == text


@given(st.lists(st.builds(Mx, st.integers(0, 9), HOST), max_size=12), st.integers())
def test_mx_records_are_ordered_and_complete(given_: list[Mx], seed: int) -> None:
    ordered = mx.order_by_preference(given_, Random(seed).shuffle)
    assert sorted(ordered) == sorted(given_)
    assert [one.preference for one in ordered] == sorted(one.preference for one in given_)
    better = mx.preferred_to_own(given_, frozenset(one.host for one in given_[:1]))
    assert all(one.preference < given_[0].preference for one in better)


@given(st.lists(EVIL, min_size=1, max_size=4))
def test_any_hosts_are_one_site_in_any_order(hosts: list[str]) -> None:
    assert mx.site_of(hosts) == mx.site_of(reversed(hosts))
    assert len(mx.site_of(hosts)) <= 255


@given(st.lists(HOST, min_size=1, max_size=4))
def test_the_case_of_a_host_and_its_last_dot_do_not_matter(hosts: list[str]) -> None:
    assert mx.site_of(hosts) == mx.site_of([f"{host.upper()}." for host in hosts])


@given(EVIL, st.sampled_from(["GET", "HEAD", "POST", ""]), st.floats(0, 10))
def test_any_hit_is_classified(agent: str, method: str, after: float) -> None:
    for kind in (bot_hits.OPEN, bot_hits.CLICK):
        found = bot_hits.matching_rule(TrackingHit(kind, method, agent, after))
        assert found is not None or (agent and method != "HEAD")


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=80))
def test_any_tlsa_record_is_checked(usage: int, selector: int, matching: int, data: bytes) -> None:
    record = tlsa.Tlsa(usage, selector, matching, data)
    assert tlsa.usable_records([record]) in ([], [record])
    assert not record.is_usable or usage in (2, 3)


@given(HOST, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=700))
def test_dnspython_parses_a_zone_line_equally(name: str, value: str) -> None:
    line = DnsRecord(records.Purpose.DKIM, name, "TXT", value).zone_line
    assert "".join(dkim.character_strings(value)) == value
    text = line.removeprefix(f"{name}. IN TXT ")
    parsed = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, text)
    assert isinstance(parsed, dns.rdtypes.ANY.TXT.TXT)
    assert b"".join(parsed.strings).decode() == value
    assert max(map(len, parsed.strings)) <= 255


DKIM_KEY = dkim.dkim_record(RSA_KEY.public_key())


@given(HOST, HOST)
def test_a_domain_with_the_expected_records_is_ready_to_send(domain: str, other: str) -> None:
    wanted = records.expected_records(
        domain,
        dkim=[records.key_record(domain, "s", DKIM_KEY)],
        return_path_host=f"b.{domain}",
        bounce_mx=other,
        spf_include=other,
        dmarc_report=f"d@{other}",
    )
    published = {
        (one.name, one.type): [f"10 {one.value}." if one.type == "MX" else one.value]
        for one in wanted
    }
    findings = domain_check.check_records(wanted, published)
    assert {finding.status for finding in findings} == {CheckStatus.OK}
    assert domain_check.is_ready_to_send(findings)
    assert not domain_check.is_ready_to_send(domain_check.check_records(wanted, {}))


PIECES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b"B:", b"\xa0"]))


@given(PIECES.map(b"".join))
def test_a_field_is_canonicalized_as_by_dkimpy(value: bytes) -> None:
    theirs = dkimpy.canonicalization.Relaxed.canonicalize_headers([(b"X-Any", value + b"\r\n")])
    ours = dkim_canonicalization.relaxed_header(b"X-Any:" + value + b"\r\n")
    assert theirs == [(b"x-any", ours.partition(b":")[2] + b"\r\n")]
