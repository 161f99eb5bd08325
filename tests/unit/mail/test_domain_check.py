import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from mail import domain_check, records
from mail.dkim import dkim_record
from mail.domain_check import Status
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
    assert {f.status for f in checks} == {Status.OK}
    assert domain_check.is_ready_to_send(checks)


def test_the_checks_of_a_domain_without_records_list_them() -> None:
    checks = domain_check.check_records(WANTED, {})
    assert {f.status for f in checks} == {Status.MISSING}
    assert all(f.record.value in f.reason for f in checks)
    assert not domain_check.is_ready_to_send(checks)


def test_a_failed_lookup_is_unknown_and_not_ready_to_send() -> None:
    assert one(Purpose.SPF, None).status is Status.UNKNOWN
    assert not domain_check.is_ready_to_send([one(Purpose.SPF, None)])


@pytest.mark.parametrize(
    ("purpose", "values", "status", "reason"),
    [
        (Purpose.SPF, ["v=spf1 -all"], Status.WRONG, "lacks include:spf.engine.example"),
        (Purpose.SPF, ["v=spf1 -all", "v=spf1 ~all"], Status.WRONG, "only one"),
        (Purpose.SPF, ["v=spf1 include:spf.engine.example +all"], Status.WRONG, "every host"),
        (
            Purpose.SPF,
            ["v=spf1 -all include:spf.engine.example"],
            Status.WRONG,
            "never evaluated",
        ),
        (Purpose.SPF, ["v=spf1 include:spf.engine.example"], Status.WEAK, "does not end in"),
        (Purpose.SPF, ["v=spf1 include:SPF.engine.example. -all"], Status.OK, ""),
        (
            Purpose.SPF,
            ["v=spf1 +include:spf.engine.example. +all"],
            Status.WRONG,
            "every host",
        ),
        (Purpose.SPF, ["v=spf1 ~include:spf.engine.example -all"], Status.WRONG, "lacks"),
        (Purpose.SPF, ["v=spf1 a mx +include:spf.engine.example ~all"], Status.OK, ""),
        (
            Purpose.SPF,
            ["v=spf1 include:spf.engine.example " + "include:x.example " * 10 + "-all"],
            Status.WRONG,
            "10 DNS lookups",
        ),
        (Purpose.SPF, ["google-site-verification=1"], Status.MISSING, "publish"),
        (Purpose.DKIM, ["v=DKIM1; k=rsa; p="], Status.WRONG, "revoked"),
        (Purpose.DKIM, [f"v=DKIM1; k=rsa; p={KEY[:200]}"], Status.WRONG, "truncated"),
        (Purpose.DKIM, ["v=DKIM1; k=rsa; p=ZZZ"], Status.WRONG, "not ours"),
        (Purpose.DKIM, ["hello"], Status.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=DKIM1; t=y; p={KEY}"], Status.WEAK, "testing"),
        (Purpose.DKIM, [f"p={KEY[:100]} {KEY[100:]}"], Status.OK, ""),
        (Purpose.DKIM, ["a", "b"], Status.WRONG, "2 TXT"),
        (Purpose.DKIM, [f"v=DKIM1 k=rsa; p={KEY}"], Status.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=DKIM2; k=rsa; p={KEY}"], Status.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=dkim1; k=rsa; p={KEY}"], Status.WRONG, "not a DKIM key"),
        (Purpose.DKIM, [f"v=DKIM1; k=rsa; p={KEY}; our key"], Status.WRONG, "not a DKIM key"),
        (
            Purpose.DKIM,
            [f"v=DKIM1; k=ed25519; p={KEY}"],
            Status.WRONG,
            "another algorithm or service",
        ),
        (
            Purpose.DKIM,
            [f"v=DKIM1; s=foo; p={KEY}"],
            Status.WRONG,
            "another algorithm or service",
        ),
        (
            Purpose.DKIM,
            [f"v=DKIM1; h=sha1; p={KEY}"],
            Status.WRONG,
            "another algorithm or service",
        ),
        (Purpose.DKIM, [f"v=DKIM1; h=sha1:sha256; s=email; n=ours; p={KEY};"], Status.OK, ""),
        (Purpose.DMARC, ["v=dmarc1; p=reject; rua=mailto:a@b"], Status.MISSING, "publish"),
        (Purpose.DMARC, ["v=DMARC12; p=reject"], Status.MISSING, "publish"),
        (Purpose.DMARC, ["v=DMARC1; p=none"], Status.WEAK, "no rua"),
        (Purpose.DMARC, ["v=DMARC1; p=maybe"], Status.WRONG, "is not p=none"),
        (
            Purpose.DMARC,
            ["v=DMARC1; p=none", "v=DMARC1; p=none"],
            Status.WRONG,
            "ignore all of them",
        ),
        (Purpose.DMARC, ["v=DMARC1; p=reject; aspf=s; rua=mailto:a@b"], Status.WEAK, "aspf=s"),
        (Purpose.DMARC, ["v=DMARC1; p=reject; rua=mailto:a@b.example"], Status.WEAK, "elsewhere"),
        (Purpose.TLS_RPT, [], Status.MISSING, "publish"),
        (Purpose.TLS_RPT, ["v=TLSRPTv1; rua=https://a.example"], Status.WEAK, "elsewhere"),
        (Purpose.TLS_RPT, [f"v=TLSRPTv1;rua=mailto:x@y,mailto:{TLS_REPORT}"], Status.OK, ""),
        (Purpose.TLS_RPT, ["v=TLSRPTv1; rua=a", "v=TLSRPTv1; rua=b"], Status.WRONG, "2 TLS-RPT"),
        (Purpose.RETURN_PATH, ["10 mx.other.example."], Status.WRONG, "It must be"),
        (
            Purpose.RETURN_PATH,
            ["5 MX.engine.example.", "9 x.example"],
            Status.WEAK,
            "are lost",
        ),
        (Purpose.TRACKING, ["Links.engine.example."], Status.OK, ""),
        (Purpose.TRACKING, [], Status.MISSING, "publish a CNAME record at links.a.example"),
        (Purpose.TRACKING, ["links.old.example."], Status.WRONG, "is a CNAME to links.old.example"),
    ],
)
def test_each_problem_has_a_reason(
    purpose: Purpose, values: list[str], status: Status, reason: str
) -> None:
    finding = one(purpose, values)
    assert (finding.status, reason in finding.reason) == (status, True)


@given(st.lists(st.text(max_size=80), max_size=3), st.sampled_from(list(Purpose)))
def test_any_record_can_be_checked(values: list[str], purpose: Purpose) -> None:
    assert one(purpose, values).status in Status
    assert one(purpose, [f"v=spf1 {v}" for v in values]).status in Status
    assert one(purpose, [f"v=DMARC1; {v}" for v in values]).status in Status


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
    assert (one(Purpose.DKIM, [record]).status is Status.OK) == takes


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
        assert check.status is Status.WRONG
        assert words in check.reason


def test_an_alias_to_the_right_record_is_right() -> None:
    key = next(one for one in WANTED if one.purpose is Purpose.DKIM)
    published = {(key.name, "TXT"): [key.value], (key.name, "CNAME"): ["keys.platform.example"]}
    assert check_of(key, published).status is Status.OK


TARGET = "r1.0123.dkim.engine.example"
ALIAS = records.key_record("a.example", "r1", RSA, target=TARGET)


@pytest.mark.parametrize(
    ("published", "status", "reason"),
    [
        ({"TXT": [RSA], "CNAME": [TARGET]}, Status.OK, ""),
        ({"TXT": [RSA], "CNAME": [f"{TARGET.upper()}."]}, Status.OK, ""),
        ({"TXT": [], "CNAME": []}, Status.MISSING, f"publish a CNAME record at {ALIAS.name}"),
        ({"TXT": [ED], "CNAME": ["x.example"]}, Status.WRONG, f"must lead to {TARGET}"),
        ({"TXT": [], "CNAME": [TARGET]}, Status.WRONG, "has no key yet"),
        ({"TXT": None}, Status.UNKNOWN, "failed"),
    ],
)
def test_an_alias_must_lead_to_the_key(
    published: dict[str, list[str] | None], status: Status, reason: str
) -> None:
    found = {(ALIAS.name, kind): values for kind, values in published.items()}
    [check] = domain_check.check_records([ALIAS], found)
    assert (check.status, reason in check.reason) == (status, True)
    assert ALIAS.zone_line == f"r1._domainkey.a.example. IN CNAME {TARGET}."
