import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from mail import domain_check, records
from mail.dkim import dkim_record
from mail.domain_check import CheckStatus
from mail.records import Purpose
from tests.support.rsa_key import RSA_KEY

RSA = dkim_record(RSA_KEY.public_key())
ED = dkim_record(ed25519.Ed25519PrivateKey.generate().public_key())
TLS_REPORT = "t@a.example"
KEY = RSA.partition("p=")[2]
WANTED = (
    *records.expected_records(
        "a.example",
        dkim=[records.key_record("a.example", *one) for one in (("r1", RSA), ("e1", ED))],
        return_path_host="b.a.example",
        bounce_mx="mx.engine.example",
        spf_include="spf.engine.example",
        dmarc_report="r@a.example",
        tls_report=TLS_REPORT,
    ),
    records.tracking_record("links.a.example", "links.engine.example"),
)
GOOD: dict[tuple[str, str], list[str] | None] = {
    (r.name, r.type): [f"{r.priority} {r.value}" if r.type == "MX" else r.value] for r in WANTED
}
NAMES = {
    Purpose.SPF: ("b.a.example", "TXT"),
    Purpose.DKIM: ("r1._domainkey.a.example", "TXT"),
    Purpose.DMARC: ("_dmarc.a.example", "TXT"),
    Purpose.RETURN_PATH: ("b.a.example", "MX"),
    Purpose.TLS_RPT: ("_smtp._tls.a.example", "TXT"),
    Purpose.TRACKING: ("links.a.example", "CNAME"),
}


def one(purpose: Purpose, values: list[str] | None) -> domain_check.RecordCheck:
    checks = domain_check.check_records(WANTED, GOOD | {NAMES[purpose]: values})
    name = NAMES[purpose]
    return next(f for f in checks if (f.record.name, f.record.type) == name)


def test_a_domain_with_all_records_is_ready_to_send() -> None:
    checks = domain_check.check_records(WANTED, GOOD)
    assert {f.status for f in checks} == {CheckStatus.OK}
    assert domain_check.is_ready_to_send(checks)


def test_the_checks_of_a_domain_without_records_list_them() -> None:
    checks = domain_check.check_records(WANTED, {})
    assert {f.status for f in checks} == {CheckStatus.MISSING}
    assert all(f.record.value in f.reason for f in checks)
    assert not domain_check.is_ready_to_send(checks)


def test_a_failed_lookup_is_unknown_and_not_ready_to_send() -> None:
    assert one(Purpose.SPF, None).status is CheckStatus.UNKNOWN
    assert not domain_check.is_ready_to_send([one(Purpose.SPF, None)])


@pytest.mark.parametrize(
    ("purpose", "values", "status", "reason"),
    [
        (Purpose.SPF, ["v=spf1 -all"], CheckStatus.WRONG, "lacks include:spf.engine.example"),
        (Purpose.SPF, ["v=spf1 -all", "v=spf1 ~all"], CheckStatus.WRONG, "only one"),
        (Purpose.SPF, ["v=spf1 include:spf.engine.example +all"], CheckStatus.WRONG, "every host"),
        (
            Purpose.SPF,
            ["v=spf1 -all include:spf.engine.example"],
            CheckStatus.WRONG,
            "never evaluated",
        ),
        (Purpose.SPF, ["v=spf1 include:spf.engine.example"], CheckStatus.WEAK, "does not end in"),
        (Purpose.SPF, ["v=spf1 include:SPF.engine.example. -all"], CheckStatus.OK, ""),
        (
            Purpose.SPF,
            ["v=spf1 +include:spf.engine.example. +all"],
            CheckStatus.WRONG,
            "every host",
        ),
        (Purpose.SPF, ["v=spf1 ~include:spf.engine.example -all"], CheckStatus.WRONG, "lacks"),
        (Purpose.SPF, ["v=spf1 a mx +include:spf.engine.example ~all"], CheckStatus.OK, ""),
        (
            Purpose.SPF,
            ["v=spf1 include:spf.engine.example " + "include:x.example " * 10 + "-all"],
            CheckStatus.WRONG,
            "10 DNS lookups",
        ),
        (Purpose.SPF, ["google-site-verification=1"], CheckStatus.MISSING, "publish"),
        (Purpose.DKIM, ["v=DKIM1; k=rsa; p="], CheckStatus.WRONG, "revoked"),
        (Purpose.DKIM, [f"v=DKIM1; k=rsa; p={KEY[:200]}"], CheckStatus.WRONG, "truncated"),
        (Purpose.DKIM, ["v=DKIM1; k=rsa; p=ZZZ"], CheckStatus.WRONG, "not ours"),
        (Purpose.DKIM, ["hello"], CheckStatus.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=DKIM1; t=y; p={KEY}"], CheckStatus.WEAK, "testing"),
        (Purpose.DKIM, [f"p={KEY[:100]} {KEY[100:]}"], CheckStatus.OK, ""),
        (Purpose.DKIM, ["a", "b"], CheckStatus.WRONG, "2 TXT"),
        (Purpose.DKIM, [f"v=DKIM1 k=rsa; p={KEY}"], CheckStatus.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=DKIM2; k=rsa; p={KEY}"], CheckStatus.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=dkim1; k=rsa; p={KEY}"], CheckStatus.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=DKIM1; k=rsa; p={KEY}; our key"], CheckStatus.WRONG, "not a DKIM key"),
        (
            Purpose.DKIM,
            [f"v=DKIM1; k=ed25519; p={KEY}"],
            CheckStatus.WRONG,
            "another algorithm or service",
        ),
        (
            Purpose.DKIM,
            [f"v=DKIM1; s=foo; p={KEY}"],
            CheckStatus.WRONG,
            "another algorithm or service",
        ),
        (
            Purpose.DKIM,
            [f"v=DKIM1; h=sha1; p={KEY}"],
            CheckStatus.WRONG,
            "another algorithm or service",
        ),
        (Purpose.DKIM, [f"v=DKIM1; h=sha1:sha256; s=email; n=ours; p={KEY};"], CheckStatus.OK, ""),
        (Purpose.DMARC, ["v=dmarc1; p=reject; rua=mailto:a@b"], CheckStatus.MISSING, "publish"),
        (Purpose.DMARC, ["v=DMARC12; p=reject"], CheckStatus.MISSING, "publish"),
        (Purpose.DMARC, ["v=DMARC1; p=none"], CheckStatus.WEAK, "no rua"),
        (Purpose.DMARC, ["v=DMARC1; p=maybe"], CheckStatus.WRONG, "is not p=none"),
        (
            Purpose.DMARC,
            ["v=DMARC1; p=none", "v=DMARC1; p=none"],
            CheckStatus.WRONG,
            "ignore all of them",
        ),
        (Purpose.DMARC, ["v=DMARC1; p=reject; aspf=s; rua=mailto:a@b"], CheckStatus.WEAK, "aspf=s"),
        (
            Purpose.DMARC,
            ["v=DMARC1; p=reject; rua=mailto:a@b.example"],
            CheckStatus.WEAK,
            "elsewhere",
        ),
        (Purpose.TLS_RPT, [], CheckStatus.MISSING, "publish"),
        (Purpose.TLS_RPT, ["v=TLSRPTv1; rua=https://a.example"], CheckStatus.WEAK, "elsewhere"),
        (Purpose.TLS_RPT, [f"v=TLSRPTv1;rua=mailto:x@y,mailto:{TLS_REPORT}"], CheckStatus.OK, ""),
        (
            Purpose.TLS_RPT,
            ["v=TLSRPTv1; rua=a", "v=TLSRPTv1; rua=b"],
            CheckStatus.WRONG,
            "2 TLS-RPT",
        ),
        (Purpose.RETURN_PATH, ["10 mx.other.example."], CheckStatus.WRONG, "It must be"),
        (
            Purpose.RETURN_PATH,
            ["5 MX.engine.example.", "9 x.example"],
            CheckStatus.WEAK,
            "are lost",
        ),
        (Purpose.TRACKING, ["Links.engine.example."], CheckStatus.OK, ""),
        (Purpose.TRACKING, [], CheckStatus.MISSING, "publish a CNAME record at links.a.example"),
        (
            Purpose.TRACKING,
            ["links.old.example."],
            CheckStatus.WRONG,
            "is a CNAME to links.old.example",
        ),
    ],
)
def test_each_problem_has_a_reason(
    purpose: Purpose, values: list[str], status: CheckStatus, reason: str
) -> None:
    finding = one(purpose, values)
    assert (finding.status, reason in finding.reason) == (status, True)


@given(st.lists(st.text(max_size=80), max_size=3), st.sampled_from(list(Purpose)))
def test_any_record_can_be_checked(values: list[str], purpose: Purpose) -> None:
    assert one(purpose, values).status in CheckStatus
    assert one(purpose, [f"v=spf1 {v}" for v in values]).status in CheckStatus
    assert one(purpose, [f"v=DMARC1; {v}" for v in values]).status in CheckStatus


TAGS = st.fixed_dictionaries(
    {"p": st.sampled_from([KEY, f"{KEY[:90]} {KEY[90:]}", KEY[:-9], "", ED.partition("p=")[2]])},
    optional={
        "v": st.sampled_from(["DKIM1", "DKIM2", "dkim1", "DKIM1 k=rsa", " DKIM1 ", ""]),
        "k": st.sampled_from(["rsa", "RSA", "ed25519", "dsa"]),
        "s": st.sampled_from(["*", "email", "foo"]),
        "n": st.sampled_from(["a note", ""]),
    },
)
SHAPE = st.sampled_from(["; ", ";", " ; ", ";;", "; junk; "])


def dkimpy_takes(record: str) -> bool:
    try:
        key, *_ = dkimpy.evaluate_pk("r1", record)
    except (dkimpy.KeyFormatError, ValueError):
        return False
    return key is not None


@given(TAGS, SHAPE, st.sampled_from(["", ";", "; junk"]))
def test_a_key_record_is_ok_if_a_verifier_accepts_it(
    tags: dict[str, str], between: str, end: str
) -> None:
    record = between.join(f"{name}={value}" for name, value in tags.items()) + end
    takes = dkimpy_takes(record) and tags["p"].replace(" ", "") == KEY
    assert (one(Purpose.DKIM, [record]).status is CheckStatus.OK) == takes


def check_of(
    record: records.DnsRecord, published: domain_check.Published
) -> domain_check.RecordCheck:
    [check] = domain_check.check_records([record], published)
    return check


@pytest.mark.parametrize("split", [0, 1])
def test_common_mistakes_are_named(split: int) -> None:
    key = next(one for one in WANTED if one.purpose is Purpose.DKIM)
    place = (key.name, "TXT")
    halves = [key.value[:200], key.value[200:]]
    if split:
        halves.reverse()
    for published, words in (
        ({place: ['"' + key.value + '"']}, "quotes"),
        ({place: [key.value.replace(";", "\\;")]}, "backslashes"),
        ({place: halves}, "split over two TXT records"),
        ({place: [], (f"{key.name}.a.example", "TXT"): [key.value]}, "appended the zone"),
        ({place: [], (key.name, "CNAME"): ["x.example"]}, "is a CNAME to x.example"),
    ):
        check = check_of(key, published)
        assert check.status is CheckStatus.WRONG
        assert words in check.reason


def test_an_alias_to_the_right_record_is_right() -> None:
    key = next(one for one in WANTED if one.purpose is Purpose.DKIM)
    published = {(key.name, "TXT"): [key.value], (key.name, "CNAME"): ["keys.platform.example"]}
    assert check_of(key, published).status is CheckStatus.OK


TARGET = "r1.0123.dkim.engine.example"
ALIAS = records.key_record("a.example", "r1", RSA, target=TARGET)


@pytest.mark.parametrize(
    ("published", "status", "reason"),
    [
        ({"TXT": [RSA], "CNAME": [TARGET]}, CheckStatus.OK, ""),
        ({"TXT": [RSA], "CNAME": [f"{TARGET.upper()}."]}, CheckStatus.OK, ""),
        ({"TXT": [], "CNAME": []}, CheckStatus.MISSING, f"publish a CNAME record at {ALIAS.name}"),
        ({"TXT": [ED], "CNAME": ["x.example"]}, CheckStatus.WRONG, f"must lead to {TARGET}"),
        ({"TXT": [], "CNAME": [TARGET]}, CheckStatus.WRONG, "has no key yet"),
        ({"TXT": None}, CheckStatus.UNKNOWN, "failed"),
    ],
)
def test_an_alias_must_lead_to_the_key(
    published: dict[str, list[str] | None], status: CheckStatus, reason: str
) -> None:
    found = {(ALIAS.name, kind): values for kind, values in published.items()}
    [check] = domain_check.check_records([ALIAS], found)
    assert (check.status, reason in check.reason) == (status, True)
    assert ALIAS.zone_line == f"r1._domainkey.a.example. IN CNAME {TARGET}."
