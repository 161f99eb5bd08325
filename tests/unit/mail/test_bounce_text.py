"""Bounces in free text, from servers that send no machine-readable part."""

import pytest

from mail import inbound_report

TO = "From: Mail Delivery System <mailer-daemon@mx.example>\nTo: s@a.example\n"
EXIM = f"""{TO}X-Failed-Recipients: u@b.example
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  u@b.example
    %s
"""
JAMES = f"""{TO}Subject: [BOUNCE]
Content-Type: multipart/mixed; boundary="x"

--x
Content-Type: text/plain

Error message below:
550 - Requested action not taken: no such user here

Message details:
  Subject: Test
  MAIL FROM: s@a.example
  RCPT TO: u@b.example
--x--
"""
TRANSCRIPT = f"""{TO}Subject: Returned mail: permanent failure

   ----- The following addresses had permanent fatal errors -----
<u@b.example>

   ----- Transcript of session follows -----
>>> RCPT TO:<other@c.example>
<<< 553 Invalid recipient other@c.example (Mode: normal)

   ----- Unsent message follows -----
Received: by x
"""
CHKUSR = f"""{TO}Subject: FAILURE NOTICE:

  ----- The following addresses had permanent fatal errors -----

>>> u@b.example <u@b.example>

550 sorry, no mailbox here by that name (#5.1.1 - chkusr)

  ----- Original message follows -----
From: s@a.example
"""
GMAIL = f"""{TO}X-Failed-Recipients: u@b.example
Subject: Delivery Status Notification (Failure)

Delivery to the following recipient failed permanently:

     u@b.example

Technical details of permanent failure:
Google tried to deliver your message, but it was rejected by the server for the recipient domain
b.example by mx.b.example. [192.0.2.1].

The error that the other server returned was:
550-5.1.1 The email account that you tried to reach does not exist. Please try
550 5.1.1 http://support.google.com/mail/bin/answer.py?answer=6596 x

----- Original message -----
"""
TWO = f"""{TO}Subject: Returned mail

   ----- Transcript of session follows -----
>>> RCPT To:<u@b.example>
<<< 550 5.1.1 <u@b.example>... User unknown
550 5.1.1 <u@b.example>... User unknown
552 5.2.2 <v@b.example>... Mailbox full
"""


@pytest.mark.parametrize(
    ("raw", "code", "status", "name"),
    [
        (EXIM % "Unrouteable address", 0, "", "invalid_recipient"),
        (EXIM % "an MX or SRV record indicated no SMTP service", 0, "", "bad_domain"),
        (EXIM % "retry timeout exceeded", 0, "", "message_expired"),
        (
            EXIM % "SMTP error from remote mail server after RCPT TO:<u@b.example>:\n"
            "    host mx.b.example [192.0.2.1]: 550 5.2.1 <u@b.example>... User Unknown",
            550,
            "5.2.1",
            "invalid_recipient",
        ),
        (
            EXIM % "LMTP error from remote mail server after end of data:\n"
            "    552 5.2.2 <u@b.example> Quota exceeded (mailbox for user is full)",
            552,
            "5.2.2",
            "quota_issues",
        ),
        (JAMES, 550, "", "invalid_recipient"),
        (TRANSCRIPT, 553, "", "invalid_recipient"),
        (CHKUSR, 550, "5.1.1", "invalid_recipient"),
        (GMAIL, 550, "5.1.1", "invalid_recipient"),
    ],
)
def test_a_bounce_for_one_recipient_has_its_diagnostic(
    raw: str, code: int, status: str, name: str
) -> None:
    (failure,) = inbound_report.parse_report(raw.encode()).failures
    assert (failure.recipient, failure.code, failure.status) == ("u@b.example", code, status)
    assert failure.bounce_class.name == name


def test_each_recipient_of_a_transcript_has_its_own_failure() -> None:
    failures = inbound_report.parse_report(TWO.encode()).failures
    assert [(f.recipient, f.bounce_class.name) for f in failures] == [
        ("u@b.example", "invalid_recipient"),
        ("v@b.example", "quota_issues"),
    ]
