"""Reports of other systems are read as they are; hostile ones are refused."""

import gzip
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import dmarc_report, domain_report, tls_rpt_inbound, unpack
from mail.dmarc_report import DmarcReport, ReportError
from mail.domain_report import find_report
from mail.tls_rpt_inbound import InboundTlsReport
from mail.unpack import UnpackError
from tests.support.domain_reports import NEW, Row, dmarc, gzipped, mail, tls, zipped

DAY = datetime(2026, 5, 1, tzinfo=UTC)
ROWS = (
    Row(messages=3),
    Row("2001:db8::1", 2, "fail", "fail", "reject", dkim_domain="other.example"),
)
REPORT = dmarc(*ROWS, begin=DAY)


def as_dmarc(raw: bytes) -> DmarcReport:
    found = find_report(raw)
    assert isinstance(found, DmarcReport)
    return found


@pytest.mark.parametrize(
    "raw",
    [
        mail(gzipped(REPORT)),
        mail(zipped(REPORT), kind="application/zip"),
        mail(zipped(REPORT), kind="application/octet-stream"),
        mail(REPORT, kind="text/xml"),
        b"Content-Type: application/gzip\r\n\r\n" + gzipped(REPORT),  # Mimecast's have no parts
        mail(gzipped(dmarc(*ROWS, begin=DAY, namespace=NEW))),
        mail(gzipped(REPORT.replace(b"</begin>", b".25</begin>"))),
        mail(gzipped(REPORT.replace(b"<feed", b"<d:feed").replace(b"</feed", b"</d:feed"))),
        mail(gzipped(b"\xef\xbb\xbf" + REPORT)),
    ],
)
def test_a_report_is_found_in_every_wrapping(raw: bytes) -> None:
    report = as_dmarc(raw)
    assert (report.organization, report.domain) == ("receiver.example", "sender.example")
    assert report.begin == DAY
    first, second = report.records
    assert (first.source_ip, first.messages, first.dkim_aligned) == ("192.0.2.1", 3, True)
    assert (second.source_ip, second.disposition) == ("2001:db8::1", "reject")
    assert not second.dkim_aligned
    assert not second.spf_aligned
    assert second.dkim[0].domain == "other.example"
    assert second.dkim[0].selector == "r1"


def test_what_a_reporter_leaves_out_is_empty() -> None:
    xml = REPORT
    for name in (b"org_name", b"source_ip", b"selector", b"envelope_from"):
        before, _, rest = xml.partition(b"<%b>" % name)
        xml = before + rest.partition(b"</%b>" % name)[2]
    report = dmarc_report.parse(
        xml.replace(b">none</disposition", b">pass</disposition")
    )  # RFC 9990
    assert report.organization == ""
    assert report.records[0].source_ip == ""
    assert report.records[0].disposition == "none"
    assert report.records[0].dkim[0].selector == ""


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><feedback>&b;'


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (LAUGHS, "document type"),
        (b'<!DOCTYPE feedback SYSTEM "file:///etc/passwd"><feedback/>', "document type"),
        (b"<feedback>" + b"<a>" * 100, "too deeply"),
        (b"<rss/>", "not a DMARC report"),
        (b"<feedback>&unknown;</feedback>", "not XML"),
        (b"<feedback><report_metadata>", "not XML"),
        (b"\xff\xfe\x00", "not XML"),
        (b'<?xml version="1.0" encoding="no-such"?><feedback/>', "not XML"),
        (b"<feedback></feedback>", "no domain"),
        (REPORT.replace(b"<begin>", b"<begin>x"), "no valid period"),
        (REPORT.replace(b"<begin>", b"<begin>99999999999999"), "no valid period"),
    ],
)
def test_what_is_no_report_is_refused(xml: bytes, why: str) -> None:
    with pytest.raises(ReportError, match=why):
        dmarc_report.parse(xml)


def test_texts_and_counts_are_bounded() -> None:
    huge = REPORT.replace(b"<org_name>", b"<org_name>" + b"x\x09" * 100_000)
    huge = huge.replace(b"<count>3", b"<count>" + b"9" * 15).replace(b"<count>2", b"<count>-2")
    report = dmarc_report.parse(huge)
    assert len(report.organization) <= dmarc_report.TEXT_MAX
    assert [one.messages for one in report.records] == [dmarc_report.COUNT_MAX, 0]


def test_bombs_are_refused() -> None:
    bomb = b"<feedback>" + bytes(unpack.OCTETS_MAX + 1)
    for file in (gzipped(bomb), zipped(bomb), bomb, gzip.compress(gzip.compress(bomb))):
        with pytest.raises(ReportError):
            find_report(mail(file))
    with pytest.raises(UnpackError, match="larger"):
        unpack.unpack(zipped(bomb))
    with pytest.raises(UnpackError, match="larger"):
        unpack.unpack(gzipped(bomb))


@pytest.mark.parametrize(
    "file",
    [b"PK\x03\x04", zipped(REPORT)[:40], gzipped(REPORT)[:20], b"\x1f\x8b", b"PK\x05\x06"],
    ids=["zip, 4 octets", "zip, 40 octets", "gzip, 20 octets", "gzip, 2 octets", "end of a zip"],
)
def test_damaged_files_are_refused(file: bytes) -> None:
    with pytest.raises(ReportError):
        find_report(mail(file))


def test_an_archive_that_is_encrypted_or_packed_otherwise_is_refused() -> None:
    archive = bytearray(zipped(REPORT))
    at = archive.index(b"PK\x03\x04", 4)  # the file, after the folder
    for offset, value, why in ((6, 1, "encrypted"), (8, 12, "another method")):
        changed = archive.copy()
        changed[at + offset] = value
        with pytest.raises(UnpackError, match=why):
            unpack.unpack(bytes(changed))


def test_a_tls_report_is_read() -> None:
    failures = [("certificate-expired", 4), ("starttls-not-supported", 1), ("new-kind", 1)]
    report = find_report(mail(gzipped(tls(failures=failures)), kind="application/tlsrpt+gzip"))
    assert isinstance(report, InboundTlsReport)
    assert (report.organization, report.domain) == ("Company-X", "sender.example")
    assert [(one.result, one.sessions) for one in report.sessions] == [
        ("", 10), ("certificate-expired", 4), ("starttls-not-supported", 1), ("other", 1),
    ]  # fmt: skip
    assert report.sessions[1].host == "mx1.sender.example"
    assert report.sessions[0].policy == "sts"


def test_details_never_exceed_the_total() -> None:
    """mail.ru lists one failed session twice; others list none."""
    report = json.loads(tls(failures=[("sts-policy-fetch-error", 1)] * 2))
    report["policies"][0]["summary"]["total-failure-session-count"] = 1
    found = tls_rpt_inbound.parse(json.dumps(report).encode())
    assert [one.sessions for one in found.sessions] == [10, 1]
    del report["policies"][0]["failure-details"]
    found = tls_rpt_inbound.parse(json.dumps(report).encode())
    assert [(one.result, one.sessions) for one in found.sessions] == [("", 10), ("other", 1)]


@pytest.mark.parametrize(
    "text",
    [
        b"{", b"{}", b"[]", b"[" * 100_000, b'{"policies": 5}', b'{"policies": [5]}',
        b'{"policies": [{"policy": {"policy-domain": 5}}]}',
        tls().replace(b"T00:00:00Z", b"T77"), b"{" + b" " * tls_rpt_inbound.OCTETS_MAX,
    ],
)  # fmt: skip
def test_what_is_no_tls_report_is_refused(text: bytes) -> None:
    with pytest.raises(ReportError):
        tls_rpt_inbound.parse(text)


def test_mail_without_a_report_is_refused() -> None:
    for raw in (b"", b"Subject: x\r\n\r\nHello", mail(b"%PDF-1.7"), mail(b"")):
        with pytest.raises(ReportError):
            find_report(raw)


TLS_MAIL = mail(gzipped(tls(failures=[("dane-required", 1)])))


@given(
    st.sampled_from([REPORT, tls(failures=[("x", 1)]), zipped(REPORT), gzipped(REPORT)]),
    st.integers(0, 5_000), st.integers(0, 40), st.binary(max_size=40),
)  # fmt: skip
def test_damaged_reports_are_read_or_refused(
    whole: bytes, at: int, gone: int, instead: bytes
) -> None:
    at %= len(whole)
    try:
        found = domain_report.find_report(mail(whole[:at] + instead + whole[at + gone :]))
    except ReportError:
        return
    assert found.domain
