"""Compare the mail library with reference implementations on one core: `make bench-mail`,
`ARGS="--json FILE"`.

Contestants take turns, and the best turn of each counts, which excludes the noise of other guests
on the machine. Ratios are meaningful only within one run.
"""

import argparse
import json
import tracemalloc
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from functools import partial
from hashlib import sha256
from pathlib import Path
from timeit import timeit

import dkim as dkimpy
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from mail import address, bounce, inbound_report, smtp_reply
from mail.compose import Attachment, Email, compose
from mail.dkim import Signer

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TEXT = "Dear Jürgen,\n\nthank you for your order, which left our house in Köln this morning.\n" * 32
HTML = (
    '<table>\n  <tr>\n    <td style="color: #333; font-size: 14px">Dear Jürgen, <a'
    ' href="https://shop.example/orders/1234">your order</a> left our house.</td>\n  </tr>\n'
    "</table>\n"
) * 30
LONGER = 1.3  # makes the signed message 10 KB on the wire

GMAIL = (
    b"550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n"
    b"550-5.1.1 double-checking the recipient's email address for typos or\r\n"
    b"550 5.1.1 unnecessary spaces. https://support.google.com/mail/?p=NoSuchUser gsmtp\r\n"
)
DSN = (
    b"""Return-Path: <>\r
From: MAILER-DAEMON@mx.b.example (Mail Delivery System)\r
Subject: Undelivered Mail Returned to Sender\r
To: bounce+token@a.example\r
Auto-Submitted: auto-replied\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status;\r
	boundary="AA92C1B23442.1720293561/mx.b.example"\r
\r
This is a MIME-encapsulated message.\r
\r
--AA92C1B23442.1720293561/mx.b.example\r
Content-Description: Notification\r
Content-Type: text/plain; charset=us-ascii\r
\r
This is the mail system at host mx.b.example.\r
\r
I'm sorry to have to inform you that your message could not\r
be delivered to one or more recipients. It's attached below.\r
\r
<u@b.example>: host mx.b.example[192.0.2.1] said: 550 5.1.1 <u@b.example>: Recipient\r
    address rejected: User unknown in local recipient table (in reply to RCPT TO command)\r
\r
--AA92C1B23442.1720293561/mx.b.example\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.b.example\r
Arrival-Date: Mon, 23 Nov 2026 12:00:00 +0000 (UTC)\r
\r
Final-Recipient: rfc822; u@b.example\r
Original-Recipient: rfc822;u@b.example\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; mx.b.example\r
Diagnostic-Code: smtp; 550 5.1.1 <u@b.example>: Recipient address rejected: User\r
    unknown in local recipient table\r
\r
--AA92C1B23442.1720293561/mx.b.example\r
Content-Type: message/rfc822\r
\r
"""
    + b"Message-ID: <42@a.example>\r\nFrom: a@a.example\r\n\r\n"
    + b"body of the mail\r\n" * 200
    + (b"\r\n--AA92C1B23442.1720293561/mx.b.example--\r\n")
)


def email(text: str = TEXT, html: str = HTML) -> Email:
    return Email(
        from_=address.parse_mailbox("Shop Köln <shop@a.example>"),
        to=(address.parse_mailbox("jürgen <j@b.example>"),),
        subject="Your order from Köln is on its way",
        date=NOW,
        message_id="1@a.example",
        text=text,
        html=html,
    )


def stdlib_compose() -> bytes:
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    message["From"] = "Shop Köln <shop@a.example>"
    message["To"] = "jürgen <j@b.example>"
    message["Subject"] = "Your order from Köln is on its way"
    message["Date"] = NOW
    message["Message-ID"] = "<1@a.example>"
    message.set_content(TEXT)
    message.add_alternative(HTML, subtype="html")
    return message.as_bytes()


def microseconds(contestants: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """The best time per call of each contestant. A turn takes some milliseconds."""
    for function in contestants.values():
        function()  # builds what is built once
    calls = {name: max(1, int(0.01 / timeit(f, number=2))) for name, f in contestants.items()}
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(turns):
        for name, function in contestants.items():
            function()  # fills the CPU caches for this contestant
            best[name] = min(best[name], timeit(function, number=calls[name]) / calls[name] * 1e6)
    return best


def measure_compose(turns: int) -> dict[str, float]:
    given = email()
    seen = microseconds(
        {"ours": lambda: compose(given).as_bytes(), "stdlib": stdlib_compose}, turns
    )
    return {"us": seen["ours"], "stdlib_us": seen["stdlib"], "ratio": seen["stdlib"] / seen["ours"]}


def measure_sign(turns: int) -> dict[str, float]:
    """Compare our signing with the two bare signatures, and dkimpy's with one.

    dkimpy computes signatures in Python: `overhead_ratio` counts that as overhead,
    `overhead_ratio_same_signature` does not.
    """
    rsa_key = rsa.generate_private_key(65537, 2048)
    ed_key = ed25519.Ed25519PrivateKey.generate()
    pem = rsa_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    composed = compose(email(TEXT, HTML + HTML[: int(len(HTML) * (LONGER - 1))]))
    raw, digest = composed.as_bytes(), sha256(b"x").digest()
    signer = Signer("a.example", "r", rsa_key, "e", ed_key)
    padding, hashed = PKCS1v15(), Prehashed(SHA256())
    own_key = dkimpy.crypto.parse_pem_private_key(pem)
    relaxed = (b"relaxed", b"relaxed")
    seen = microseconds(
        {
            "ours": lambda: signer.sign(composed.headers, composed.body, NOW),
            "rsa": lambda: rsa_key.sign(digest, padding, hashed),
            "ed": lambda: ed_key.sign(digest),
            "dkimpy": lambda: dkimpy.sign(raw, b"r", b"a.example", pem, canonicalize=relaxed),
            "dkimpy_rsa": lambda: dkimpy.crypto.RSASSA_PKCS1_v1_5_sign(sha256(b"x"), own_key),
        },
        turns,
    )
    overhead = max(seen["ours"] - seen["rsa"] - seen["ed"], 0.1)
    return {
        "bytes": float(len(raw)),
        "rsa_us": seen["rsa"],
        "ed25519_us": seen["ed"],
        "overhead_us": overhead,
        "dkimpy_overhead_us": seen["dkimpy"] - seen["rsa"],
        "overhead_ratio": (seen["dkimpy"] - seen["rsa"]) / overhead,
        "overhead_ratio_same_signature": (seen["dkimpy"] - seen["dkimpy_rsa"]) / overhead,
    }


def measure_reading(turns: int) -> dict[str, float]:
    given = smtp_reply.parse_reply(GMAIL)
    return microseconds(
        {
            "reply_us": lambda: smtp_reply.parse_reply(GMAIL),
            "classify_us": lambda: bounce.classify(given.code, given.enhanced, given.text),
            "dsn_us": lambda: inbound_report.parse_report(DSN),
            "address_us": lambda: address.parse_mailbox("some.user+tag@mail.example.com"),
        },
        turns,
    )


def measure_large() -> dict[str, float]:
    """A message of 40 MB: time per MB compared with one of 4 MB, and memory per octet."""
    times = {}
    for size in (4, 40):
        content = bytes(range(256)) * (size * 2900)  # base64 adds a third, and line ends
        given = Email(
            from_=address.parse_mailbox("a@a.example"),
            text="x",
            attachments=(Attachment("a.bin", content),),
        )
        times[size] = min(timeit(partial(compose, given), number=1) for _ in range(3)) / size
    tracemalloc.start()
    composed = compose(given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "slowdown_40mb_beside_4mb": times[40] / times[4],
        "peak_memory_per_octet": peak / composed.size,
        "ms_per_mb": times[40] * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--turns", type=int, default=150, help="turns per contestant")
    arguments = parser.parse_args()
    figures: dict[str, object] = {
        "compose": measure_compose(arguments.turns),
        "sign": measure_sign(arguments.turns),
        **measure_reading(arguments.turns),
        "large": measure_large(),
    }
    for name, value in figures.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for key, figure in rows:
            print(f"{name:12} {key:32} {figure:12.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
