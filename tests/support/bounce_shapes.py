"""Bounces as mail servers write them: the same reply in the shape of each."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

REPORT = """\
From: {sender}
To: {to}
Subject: {subject}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8

{text}

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.receiver.example

Final-Recipient: rfc822; {recipient}
Action: failed
Status: {status}
{fields}

--b1
Content-Type: text/rfc822-headers

{header}

--b1--
"""
TEXT = """\
From: {sender}
To: {to}
Subject: {subject}

{text}
"""
HEADER = "From: shop@sender.example\nTo: {recipient}\nSubject: Your order"
TO = "bounce+x@bounces.sender.example"


class Refusal(NamedTuple):
    """command: that was refused, in upper case. lines: of the reply, with their codes."""

    recipient: str
    command: str
    lines: tuple[str, ...]

    @property
    def status(self) -> str:
        """The enhanced code, or what servers report instead of one."""
        word = self.lines[-1][4:].partition(" ")[0]
        return word if word.count(".") == 2 and word[0] in "45" else f"{self.lines[0][0]}.0.0"

    @property
    def reply(self) -> str:
        return " ".join(self.lines)


Shape: TypeAlias = Callable[[Refusal], str]


def report(
    refusal: Refusal, text: str, fields: str, *, sender: str = "MAILER-DAEMON@mx.receiver.example"
) -> str:
    return REPORT.format(
        sender=sender, to=TO, subject="Undelivered mail", text=text, fields=fields,
        recipient=refusal.recipient, status=refusal.status,
        header=HEADER.format(recipient=refusal.recipient),
    )  # fmt: skip


def in_words(
    text: str, *, sender: str = "MAILER-DAEMON@mx.receiver.example", subject: str = "failure notice"
) -> str:
    return TEXT.format(sender=sender, to=TO, subject=subject, text=text)


def copy_of(refusal: Refusal) -> str:
    return HEADER.format(recipient=refusal.recipient)


def postfix(refusal: Refusal) -> str:
    where = {"DATA": "end of DATA", "EHLO": "EHLO"}.get(
        refusal.command, f"{refusal.command} FROM/TO".replace("MAIL FROM/TO", "MAIL FROM")
    )
    place = where.replace("RCPT FROM/TO", "RCPT TO")
    reply_lines = (
        f"host mx.x.example[192.0.2.1] said: {refusal.reply} (in reply to {place} command)"
    )
    return report(
        refusal,
        f"I'm sorry to have to inform you that your message could not be delivered.\n\n"
        f"<{refusal.recipient}>: {reply_lines}",
        f"Remote-MTA: dns; mx.x.example\nDiagnostic-Code: smtp; {refusal.reply}",
    )


def exim(refusal: Refusal) -> str:
    place = {"RCPT": f"RCPT TO:<{refusal.recipient}>", "MAIL": "MAIL FROM:<shop@sender.example>"}
    after = place.get(refusal.command, "end of data")
    reply_lines = "\n    ".join(refusal.lines)
    text = (
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of its\n"
        "recipients. This is a permanent error. The following address(es) failed:\n\n"
        f"  {refusal.recipient}\n    host mx.x.example [192.0.2.1]\n"
        f"    SMTP error from remote mail server after {after}:\n    {reply_lines}\n\n"
        f"------ This is a copy of the message, including all the headers. ------\n\n"
    )
    subject = "Mail delivery failed: returning message to sender"
    return in_words(text + copy_of(refusal), subject=subject)


def sendmail(refusal: Refusal) -> str:
    reply_lines = "\n".join(f"<<< {one}" for one in refusal.lines)
    sent = {"RCPT": f"RCPT To:<{refusal.recipient}>", "MAIL": "MAIL From:<shop@sender.example>"}
    text = (
        "The original message was received at Mon, 2 Nov 2026 10:00:00 GMT\n\n"
        "   ----- The following addresses had permanent fatal errors -----\n"
        f"<{refusal.recipient}>\n    (reason: {refusal.lines[0]})\n\n"
        "   ----- Transcript of session follows -----\n"
        "... while talking to mx.x.example.:\n"
        f">>> {sent.get(refusal.command, 'DATA')}\n{reply_lines}\n"
    )
    return report(refusal, text, f"Diagnostic-Code: SMTP; {refusal.reply}")


def qmail(refusal: Refusal) -> str:
    before = {
        "RCPT": "192.0.2.1 does not like recipient.\nRemote host said: ",
        "MAIL": "Connected to 192.0.2.1 but sender was rejected.\nRemote host said: ",
        "EHLO": "Connected to 192.0.2.1 but my name was rejected.\nRemote host said: ",
    }.get(refusal.command, "192.0.2.1 failed after I sent the message.\nRemote host said: ")
    text = (
        "Hi. This is the qmail-send program at mx.receiver.example.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        f"<{refusal.recipient}>:\n{before}{refusal.reply}\n\n"
        "--- Below this line is a copy of the message.\n\n"
    )
    return in_words(text + copy_of(refusal))


def exchange(refusal: Refusal) -> str:
    text = (
        f"Delivery has failed to these recipients or groups:\n\n{refusal.recipient}\n\n"
        "Diagnostic information for administrators:\n\nGenerating server: x.example\n\n"
        f"{refusal.recipient}\nRemote Server returned '{refusal.reply}'\n"
    )
    sender = "Microsoft Outlook <MicrosoftExchange@x.example>"
    return report(refusal, text, f"Diagnostic-Code: smtp;{refusal.reply}", sender=sender)


def gmail(refusal: Refusal) -> str:
    text = (
        f"Your message wasn't delivered to {refusal.recipient}.\n\n"
        f"The response from the remote server was:\n\n{refusal.reply}\n"
    )
    return report(refusal, text, f"Diagnostic-Code: smtp; {refusal.reply}")


def courier(refusal: Refusal) -> str:
    sent = {"RCPT": f"RCPT TO:<{refusal.recipient}>", "MAIL": "MAIL FROM:<shop@sender.example>"}
    text = (
        "This is a delivery status notification from mx.receiver.example, running the Courier\n"
        f"mail server.\n\n<{refusal.recipient}>:\n     >>> {sent.get(refusal.command, 'DATA')}\n"
        f"     <<< {refusal.reply}\n"
    )
    return report(refusal, text, f"Diagnostic-Code: smtp; {refusal.reply}")


def opensmtpd(refusal: Refusal) -> str:
    text = (
        "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n"
        "    An error has occurred while attempting to deliver a message for\n"
        f"    the following list of recipients:\n\n{refusal.recipient}: {refusal.reply}\n\n"
        "    Below is a copy of the original message:\n\n"
    )
    return in_words(text + copy_of(refusal), subject="Delivery status notification: error")


def hmailserver(refusal: Refusal) -> str:
    text = (
        "Your message did not reach some or all of the intended recipients.\n\n"
        "   Sent: Mon, 2 Nov 2026 10:00:00 +0000\n   Subject: Your order\n\n"
        f"The following recipient(s) could not be reached:\n\n{refusal.recipient}\n"
        "   Error Type: SMTP\n   Remote server (192.0.2.1) issued an error.\n"
        f"   hMailServer sent: {refusal.command} TO\n   Remote server replied: {refusal.reply}\n"
    )
    return in_words(text, sender="mailer-daemon@x.example", subject="Message undeliverable")


SHAPES: dict[str, Shape] = {
    one.__name__: one
    for one in (
        postfix, exim, sendmail, qmail, exchange, gmail, courier, opensmtpd, hmailserver,
    )
}  # fmt: skip
