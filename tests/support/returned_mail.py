"""Mail that comes back: reports as other servers write them, and a client that hands them in."""

import smtplib

# A bounce as Postfix writes it.
BOUNCE = """\
From: MAILER-DAEMON@mx.receiver.example (Mail Delivery System)
To: {to}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

<{recipient}>: host in.receiver.example[192.0.2.1] said: 550 5.1.1
    <{recipient}>: Recipient address rejected: User unknown (in reply to RCPT TO command)

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.receiver.example
X-Postfix-Queue-ID: 4cX

Final-Recipient: rfc822; {recipient}
Original-Recipient: rfc822;{recipient}
Action: {action}
Status: {status}
Remote-MTA: dns; in.receiver.example
Diagnostic-Code: smtp; 550 5.1.1 <{recipient}>: Recipient address rejected: User unknown

--b1--
"""
# RFC 5965 appendix B.1, with a header instead of the message.
COMPLAINT = """\
From: <abusedesk@receiver.example>
Date: Thu, 8 Mar 2005 17:40:36 EDT
Subject: FW: Earn money
To: {to}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report for an email message received from IP
192.0.2.1 on Thu, 8 Mar 2005 14:00:00 EDT.
For more information about this format please see
http://www.mipassoc.org/arf/.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: {feedback_type}
User-Agent: SomeGenerator/1.0
Version: 1
{fields}
--part1_13d.2e68ed54_boundary
Content-Type: text/rfc822-headers

{header}
--part1_13d.2e68ed54_boundary--
"""


def bounce(to: str, recipient: str, *, action: str = "failed", status: str = "5.1.1") -> bytes:
    text = BOUNCE.format(to=to, recipient=recipient, action=action, status=status)
    return text.encode().replace(b"\n", b"\r\n")


def complaint(to: str, header: str, *, feedback_type: str = "abuse", fields: str = "") -> bytes:
    """header: of the message. fields: more of the feedback report, each with its line end."""
    text = COMPLAINT.format(to=to, header=header, feedback_type=feedback_type, fields=fields)
    return text.encode().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def hand_in(
    port: int, mail: bytes, *to: str, sender: str = "", timeout_s: float = 120.0
) -> tuple[int, str]:
    """The reply that decides: to the message, or to the first recipient that is refused."""
    with smtplib.SMTP(
        "127.0.0.1", port, local_hostname="mx.receiver.example", timeout=timeout_s
    ) as client:
        client.ehlo()
        client.mail(sender)
        for one in to:
            code, text = client.rcpt(one)
            if code != 250:
                return code, text.decode()
        code, text = client.data(mail)
        return code, text.decode()
