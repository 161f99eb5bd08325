import gzip
import json
from datetime import UTC, datetime

import pytest

from mail import tls_rpt
from mail.tls_rpt import (
    AppliedPolicy,
    FailedSession,
    PolicyKind,
    PolicyResult,
    ReportingOrganization,
    ResultType,
)

START, END = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
EXPIRED = FailedSession(ResultType.CERTIFICATE_EXPIRED, "192.0.2.1", "mx.b.example", "198.51.100.1")


def test_equal_failures_are_one_entry_with_a_count() -> None:
    policy = AppliedPolicy(PolicyKind.STS, "b.example", ("version: STSv1",), ("mx.b.example",))
    days = [
        PolicyResult(policy, 5, {EXPIRED: 2}),
        PolicyResult(AppliedPolicy(PolicyKind.NONE, "c.example"), 1),
    ]
    reporter = ReportingOrganization("Engine", "tls@a.example")
    made = tls_rpt.encode_report(days, reporter, start=START, end=END, report_id="1@a.example")
    report = json.loads(gzip.decompress(made))
    assert report["date-range"]["start-datetime"] == "2026-11-22T00:00:00Z"
    first, second = report["policies"]
    assert first["summary"] == {
        "total-successful-session-count": 5,
        "total-failure-session-count": 2,
    }
    assert first["failure-details"] == [
        {
            "result-type": "certificate-expired",
            "sending-mta-ip": "192.0.2.1",
            "receiving-mx-hostname": "mx.b.example",
            "receiving-ip": "198.51.100.1",
            "failed-session-count": 2,
        }
    ]
    assert second["policy"] == {"policy-type": "no-policy-found", "policy-domain": "c.example"}
    assert made == tls_rpt.encode_report(
        days, reporter, start=START, end=END, report_id="1@a.example"
    )


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["v=TLSRPTv1; rua=mailto:r@b.example"], ("mailto:r@b.example",)),
        (
            ["v=TLSRPTv1;rua=mailto:r@b.example,https://b.example/r"],
            ("mailto:r@b.example", "https://b.example/r"),
        ),
        (["v=TLSRPTv1; rua=ftp://b.example,mailto:nobody"], ()),
        (["v=TLSRPTv1; rua=mailto:r@b.example"] * 2, ()),
        (["v=TLSRPTv1;"], ()),
        (["v=TLSRPTv12; rua=mailto:a@b.example"], ()),
        ([], ()),
    ],
)
def test_reports_go_to_the_destinations_in_the_record(
    records: list[str], found: tuple[str, ...]
) -> None:
    assert tls_rpt.parse_destinations(records) == found


def test_the_attachment_name_follows_the_rfc() -> None:
    assert tls_rpt.report_filename("a.example", "b.example", start=START, end=END) == (
        "a.example!b.example!1795305600!1795392000.json.gz"
    )
