import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import inbound_report
from mail.inbound_report import ReportKind

DSN = b"""Return-Path: <>
From: MAILER-DAEMON@mx.b.example (Mail Delivery System)
To: bounce+token@a.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
Content-Type: multipart/report; report-type=delivery-status; boundary="xx"

--xx
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered.

<u@b.example>: host mx.b.example[192.0.2.1] said: 550 5.1.1 <u@b.example>: Recipient
    address rejected: User unknown (in reply to RCPT TO command)

--xx
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.b.example

Final-Recipient: rfc822; u@b.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 550 5.1.1 <u@b.example>: Recipient address
    rejected: User unknown

--xx
Content-Type: text/rfc822-headers

From: a@a.example
Message-ID: <42@a.example>

--xx--
"""

ARF = b"""From: fbl@isp.example
To: fbl@a.example
Subject: complaint
Content-Type: multipart/report; report-type=feedback-report; boundary="xx"

--xx
Content-Type: text/plain

This is a report.
--xx
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: isp/1
Source-IP: 192.0.2.1
Original-Rcpt-To: <u@isp.example>
Original-Mail-From: <bounce+token@a.example>

--xx
Content-Type: message/rfc822

From: a@a.example
Message-ID: <42@a.example>

body
--xx--
"""


def test_a_report_contains_the_envelope_id() -> None:
    named = DSN.replace(b"Reporting-MTA", b"Original-Envelope-Id: 019ab000-0000\nReporting-MTA")
    assert inbound_report.parse_report(named).original_envelope_id == "019ab000-0000"
    assert inbound_report.parse_report(DSN).original_envelope_id == ""


def test_a_delivery_status_has_recipient_status_and_diagnostic() -> None:
    found = inbound_report.parse_report(DSN)
    assert found.kind is ReportKind.BOUNCE
    assert found.original_message_id == "42@a.example"
    assert found.reporting_mta == "mx.b.example"
    (failure,) = found.failures
    assert (failure.recipient, failure.status, failure.code) == ("u@b.example", "5.1.1", 550)
    assert failure.command == "RCPT"
    assert failure.diagnostic.endswith("rejected: User unknown")
    assert failure.bounce_class.name == "invalid_recipient"


def test_a_reason_in_exchanges_own_field_is_read() -> None:
    head, _, tail = DSN.partition(b"Status: 5.1.1")
    rest = tail.partition(b"User unknown\n")[2]
    status = b"Status: 5.0.0\nX-Supplementary-Info: < #5.1.1 smtp;550 5.1.1 User unknown>\n"
    bounce = head.replace(b"550 5.1.1", b"").replace(b"User unknown", b"") + status + rest

    [failure] = inbound_report.parse_report(bounce).failures

    assert (failure.code, failure.status) == (550, "5.1.1")
    assert failure.diagnostic.endswith("User unknown")
    assert failure.bounce_class.name == "invalid_recipient"


def test_a_delay_is_not_a_failure() -> None:
    delayed = DSN.replace(b"Action: failed", b"Action: delayed").replace(b"5.1.1", b"4.4.1")
    assert inbound_report.parse_report(delayed).kind is ReportKind.DELAY


def test_a_complaint_has_recipient_and_type() -> None:
    found = inbound_report.parse_report(ARF.replace(b"\n", b"\r\n"))
    assert found.kind is ReportKind.COMPLAINT
    assert found.complaint is not None
    assert found.complaint.feedback_type == "abuse"
    assert found.complaint.original_mail_from == "bounce+token@a.example"
    assert found.original_message_id == "42@a.example"


def test_a_complaint_about_a_header_alone_names_the_message_by_its_token() -> None:
    """As in reports that remove the body, and the addresses of sender and recipient."""
    raw = b"""From: fbl@isp.example
Content-Type: multipart/report; report-type=feedback-report; boundary="xx"

--xx
Content-Type: message/feedback-report

Feedback-Type: abuse
Version: 1
--xx
Content-Type: text/rfc822-headers

X-Report-Token: abc
DKIM-Signature: v=1
Message-ID: <42@a.example>
X-Report-Token: of-another

--xx--
"""
    found = inbound_report.parse_report(raw)
    assert found.kind is ReportKind.COMPLAINT
    assert found.original_token == "abc"


@pytest.mark.parametrize(
    "fields",
    [
        b"Subject: Please confirm your message",
        b"Subject: Your email requires verification verify#0Xf3PqW9k1",
        b"Subject: Re: hello\r\nX-Delivery-Agent: TMDA/1.1.12 (Macallan)",
    ],
)
def test_a_challenge_is_neither_a_bounce_nor_a_reply(fields: bytes) -> None:
    text = b"Click here to deliver it: http://b.example/550\r\n"
    raw = b"From: u@b.example\r\nAuto-Submitted: auto-replied\r\n" + fields + b"\r\n\r\n" + text
    assert inbound_report.parse_report(raw).kind is ReportKind.CHALLENGE


def test_microsofts_complaints_have_no_report_part() -> None:
    raw = b"""From: staff@hotmail.com
Subject: complaint about message from 192.0.2.1
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: message/rfc822

X-HmXmrOriginalRecipient: u@hotmail.com
Return-Path: <bounce+token@a.example>
Message-ID: <42@a.example>

body
--x--
"""
    found = inbound_report.parse_report(raw)
    assert found.kind is ReportKind.COMPLAINT
    assert found.complaint is not None
    assert found.complaint.original_recipient == "u@hotmail.com"
    assert found.original_return_path == "bounce+token@a.example"


@pytest.mark.parametrize(
    "header",
    [b"Auto-Submitted: auto-replied", b"Subject: Out of office: Re: x", b"X-Autoreply: yes"],
)
def test_an_automatic_reply_is_recognized(header: bytes) -> None:
    found = inbound_report.parse_report(
        b"From: u@b.example\r\n" + header + b"\r\n\r\nI am away until Monday.\r\n"
    )
    assert found.kind is ReportKind.AUTO_REPLY


def test_a_persons_reply_is_not_a_bounce() -> None:
    found = inbound_report.parse_report(
        b"From: u@b.example\r\nSubject: Re: hello\r\n\r\nuser unknown, 550 5.1.1\r\n"
    )
    assert found.kind is ReportKind.OTHER
    assert found.failures == ()


def test_a_bounce_in_free_text_is_parsed() -> None:
    raw = b"""From: MAILER-DAEMON@mx.b.example
To: bounce@a.example
Subject: failure notice

Hi. This is the qmail-send program at mx.b.example.

<u@c.example>:
192.0.2.1 does not like recipient.
Remote host said: 550 5.1.1 <u@c.example>: no such user here
Giving up on 192.0.2.1.

--- Below this line is a copy of the message.

From: a@a.example
To: other@d.example
"""
    (failure,) = inbound_report.parse_report(raw).failures
    assert failure.recipient == "u@c.example"
    assert (failure.code, failure.status) == (550, "5.1.1")
    assert failure.bounce_class.name == "invalid_recipient"


def test_a_bounce_with_a_wrong_boundary_is_read() -> None:
    found = inbound_report.parse_report(DSN.replace(b'boundary="xx"', b'boundary="yy"'))
    assert [f.recipient for f in found.failures] == ["u@b.example"]


def test_a_report_about_thousands_is_bounded() -> None:
    group = b"Final-Recipient: rfc822; u%d@b.example\nAction: failed\nStatus: 5.1.1\n\n"
    groups = b"".join(group % n for n in range(3000))
    found = inbound_report.parse_report(
        DSN.replace(b"Final-Recipient: rfc822; u@b", groups + b"Final-Recipient: x; u@b")
    )
    assert len(found.failures) == inbound_report.MAX_RECIPIENTS


@given(st.binary(max_size=500))
def test_any_bytes_are_classified(raw: bytes) -> None:
    assert inbound_report.parse_report(raw).kind in ReportKind
    inbound_report.parse_report(
        DSN.replace(b"User unknown", raw).replace(b"text/plain", b"text/html")
    )
    inbound_report.parse_report(DSN.replace(b"Status: 5.1.1", b"Status: " + raw))


def test_deep_nesting_is_bounded() -> None:
    raw = b"From: MAILER-DAEMON@x.example\n"
    body = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1000)
    )
    assert inbound_report.parse_report(raw + body).kind in ReportKind


@pytest.mark.parametrize(
    "evil", [b"-" * 60000, b"a" * 60000, b"@." * 30000, b"<" * 60000, b"5" * 60000]
)
def test_a_hostile_report_is_parsed_in_bounded_time(evil: bytes) -> None:
    raw = (
        b"From: MAILER-DAEMON@x.example\nSubject: "
        + evil
        + b"\n\n"
        + evil
        + b"\nu@b.example\n"
        + evil
    )
    assert inbound_report.parse_report(raw).kind in ReportKind
