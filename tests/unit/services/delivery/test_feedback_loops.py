"""Complaints in the shapes of mailbox providers name our message."""

import base64
from uuid import UUID

import pytest

from mail import verp
from services.delivery.domain.returned_mail import read

PATH = verp.return_path(UUID(int=1), "b.sender.example", key=b"k" * 16).address
TOKEN = verp.token_of(PATH)
SENT = f"""\
Received: from out.sender.example (out.sender.example [192.0.2.1])
Authentication-Results: provider.example; dkim=pass header.d=sender.example
DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; h=from:x-report-token; b=AAAA
X-Report-Token: {TOKEN}
Message-ID: <018f0000-0000-7000-8000-000000000001@sender.example>
From: Shop <shop@sender.example>
Subject: Offer
"""
ARF = """\
From: {sender}
To: fbl@mx.sender.example
Subject: {subject}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_b"

--=_b
Content-Type: text/plain; charset=us-ascii

This is an email abuse report.

--=_b
{disposition}Content-Type: message/feedback-report

{fields}
--=_b
{returned}
--=_b--
"""
# Complaint feedback loop of Yahoo, by DKIM domain: the message as it was.
YAHOO = ARF.format(
    sender="Yahoo! Mail AntiSpam Feedback <feedback@arf.mail.yahoo.com>",
    subject="FW: Offer",
    disposition="",
    fields="Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\nVersion: 0.1\n"
    "Original-Mail-From: <redacted>\nOriginal-Rcpt-To: redacted@yahoo.com\n"
    "Received-Date: Thu, 26 Nov 2026 10:00:00 -0000\nReported-Domain: sender.example\n",
    returned=f"Content-Type: message/rfc822\nContent-Disposition: inline\n\n{SENT}\nBuy!\n",
)
# JMRP since 2026: no body, no addresses.
MICROSOFT = ARF.format(
    sender="staff@hotmail.com",
    subject="complaint about message from 192.0.2.1",
    disposition="Content-Disposition: inline\n",
    fields="Feedback-Type: abuse\nUser-Agent: Microsoft-JMRP/2.0\nVersion: 1\n"
    "Source-IP: 192.0.2.1\nReported-Domain: sender.example\n",
    returned=f"Content-Type: text/rfc822-headers\n\n{SENT.replace('shop@', 'REDACTED@')}",
)
# Feedback loops that a service runs for providers: the message in base64.
ENCODED = ARF.format(
    sender="feedbackloop@feedback.provider.example",
    subject="Abuse report",
    disposition="",
    fields="Feedback-Type:  abuse\nUser-Agent: ReturnPathFBL/2.0\nVersion: 1\n"
    f"Original-Mail-From: <{PATH}>\n",
    returned="Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
    + base64.encodebytes(b"From: a@b.example\n\nBuy!\n").decode(),
)
# JMRP before: a forwarded message.
LEGACY = f"""\
From: staff@hotmail.com
Subject: complaint about message from 192.0.2.1
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_b"

--=_b
Content-Type: message/rfc822
Content-Disposition: inline

X-HmXmrOriginalRecipient: ann@hotmail.com
{SENT}
Buy!
--=_b--
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("report", [YAHOO, MICROSOFT, ENCODED, LEGACY])
def test_a_provider_names_our_message(report: str, line_end: str) -> None:
    mail = read(report.replace("\n", line_end).encode())
    assert (mail.kind, mail.feedback_type) == ("complaint", "abuse")
    assert mail.reporter
    assert mail.tokens == (TOKEN,)
    assert verp.parse_token(mail.tokens[0], keys=(b"k" * 16,)) == UUID(int=1)
