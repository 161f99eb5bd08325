"""Bounces in free text with a broken or reversed structure."""

from mail import inbound_report
from mail.inbound_report import ReportKind

HEAD = b"Return-Path: <>\nFrom: postmaster@mx.b.example\nSubject: Undeliverable Message\n"


def test_the_diagnostic_before_the_returned_header_is_read() -> None:
    found = inbound_report.parse_report(
        HEAD
        + b"\nMessage could not be delivered to mobile.\nError: No valid recipients for this\n\n"
        b"Original Message:\nFrom: Ann <a@a.example>\nTo: 0001@b.example\nSubject: hello\n"
    )
    assert [f.recipient for f in found.failures] == ["0001@b.example"]
    assert found.failures[0].bounce_class.name == "invalid_recipient"


def test_a_recipient_named_in_the_first_line_is_followed_by_the_reason() -> None:
    found = inbound_report.parse_report(
        HEAD + b"\nYour message\n\n  To:  u@b.example\n  Subject: hello\n\n"
        b"did not reach the following recipient(s):\nu@b.example: 550 5.1.1 User unknown\n"
    )
    assert found.failures[0].status == "5.1.1"


def test_a_multipart_with_a_lost_boundary_is_read() -> None:
    found = inbound_report.parse_report(
        HEAD + b'Content-Type: multipart/alternative;\nboundary="x"\n\n'
        b"--x\nContent-Type: text/plain\n\n550 5.1.1 <u@b.example> no such user\n--x--\n"
    )
    assert found.kind is ReportKind.BOUNCE
    assert (found.failures[0].code, found.failures[0].status) == (550, "5.1.1")
