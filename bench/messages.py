"""The 10 KB order confirmation that every contestant delivers, in variants.

Each variant is built once and split at a token, so that a message costs the load generator one
`join`.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

RESERVED = "bench.test"  # for loopback only (RFC 6761 §6.2)
SENDER_DOMAIN = f"sender.{RESERVED}"
SENDER = f"orders@{SENDER_DOMAIN}"
TOKEN = "0XSERIALX0"  # as long as a serial, so that lengths do not change
VARIANTS_PER_SITE = 2
ITEMS = 13  # makes html and text about 10 KB together
WORDS = (
    "walnut linen cotton copper ceramic oak slate canvas wool leather bamboo glass enamel felt "
    "lamp chair shelf kettle blanket notebook planter mirror basket tray cushion clock bowl vase"
)
CITIES = ("Lyon", "Gdańsk", "Porto", "Malmö", "Leeds", "Graz", "Turku", "Gent")


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant, split at its token: as a JSON body for the API, and as MIME for SMTP."""

    domain: str
    json_pieces: tuple[bytes, ...]
    mime_pieces: tuple[bytes, ...]

    def json(self, serial: int) -> bytes:
        return serial_bytes(serial).join(self.json_pieces)

    def mime(self, serial: int) -> bytes:
        return serial_bytes(serial).join(self.mime_pieces)

    def recipient(self, serial: int) -> str:
        return f"customer.{serial:010d}@{self.domain}"


def serial_bytes(serial: int) -> bytes:
    return b"%010d" % serial


def sites(count: int) -> list[str]:
    """The recipient domains, one site each, all of the same length."""
    return [f"inbox{number:02d}.{RESERVED}" for number in range(count)]


def variants(domains: Sequence[str], seed: int = 2821) -> list[Variant]:
    dice = random.Random(seed)
    return [variant(domain, dice) for _ in range(VARIANTS_PER_SITE) for domain in domains]


def variant(domain: str, dice: random.Random) -> Variant:
    rows = [item(dice) for _ in range(ITEMS)]
    city = dice.choice(CITIES)
    subject = f"Your order {TOKEN} is on its way to {city}"
    text, html = plain(rows, city), page(rows, city)
    recipient = f"customer.{TOKEN}@{domain}"
    body = json.dumps(
        {"from": f"Sender Store <{SENDER}>", "to": [recipient], "subject": subject}
        | {"text": text, "html": html}
    )
    return Variant(
        domain,
        tuple(body.encode().split(TOKEN.encode())),
        tuple(mime(recipient, subject, text=text, html=html).split(TOKEN.encode())),
    )


def mime(recipient: str, subject: str, *, text: str, html: str) -> bytes:
    """A message as a client submits it to a relay: multipart/alternative, ready for DATA."""
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Sender Store <{SENDER}>"
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = "Mon, 05 Jan 2026 09:00:00 +0000"
    message["Message-ID"] = f"<{TOKEN}.order@{SENDER_DOMAIN}>"
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    raw = message.as_bytes()
    return raw.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def item(dice: random.Random) -> tuple[str, int, int]:
    name = " ".join(dice.sample(WORDS.split(), 3)).capitalize()
    return name, dice.randint(1, 4), dice.randint(900, 9900)


def euros(cents: int) -> str:
    return f"€{cents // 100}.{cents % 100:02d}"


def plain(rows: Sequence[tuple[str, int, int]], city: str) -> str:
    lines = [f"  {count} x {name}, {euros(price)} each" for name, count, price in rows]
    total = euros(sum(count * price for _, count, price in rows))
    return "\n".join(
        [
            "Hello,",
            "",
            f"thank you for your order {TOKEN}. We packed it this morning and handed it to the",
            f"carrier; it should reach you in {city} within three working days.",
            "",
            *lines,
            "",
            f"Total: {total}, paid by card. The invoice is in your account.",
            "",
            f"Follow your parcel: https://shop.{SENDER_DOMAIN}/orders/{TOKEN}/parcel",
            "",
            "If anything is not as you expected, answer this message within 30 days and we will",
            "make it right.",
            "",
            "Your team at Sender Store",
            "",
        ]
    )


ROW = """<tr>
<td style="padding:12px 16px;border-bottom:1px solid #e4e4e7;font-size:14px;color:#18181b">
<a href="https://shop.{host}/products/{slug}" style="color:#18181b">{name}</a><br>
<span style="font-size:12px;color:#71717a">Made to last, returned free of charge in 30 days</span>
</td>
<td align="center" style="padding:12px 16px;border-bottom:1px solid #e4e4e7">{count}</td>
<td align="right" style="padding:12px 16px;border-bottom:1px solid #e4e4e7">{price}</td>
</tr>
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Your order {token}</title></head>
<body style="margin:0;background:#f4f4f5;font-family:Helvetica,Arial,sans-serif">
<table role="presentation" width="600" align="center" style="background:#ffffff">
<tr><td style="padding:24px 16px"><h1 style="font-size:20px">Your order is on its way</h1>
<p>Hello, thank you for your order <b>{token}</b>. We packed it this morning and handed it to
the carrier; it should reach you in {city} within three working days.</p></td></tr>
<tr><td><table role="presentation" width="100%">
{rows}</table></td></tr>
<tr><td style="padding:16px"><p>Total: <b>{total}</b>, paid by card.</p>
<p><a href="https://shop.{host}/orders/{token}/parcel">Follow your parcel</a></p>
<p style="font-size:12px;color:#71717a">Sender Store, 12 Harbour Street, Dublin. You receive this
message because you placed an order with us.</p></td></tr>
</table></body></html>
"""


def page(rows: Sequence[tuple[str, int, int]], city: str) -> str:
    table = "".join(
        ROW.format(
            host=SENDER_DOMAIN,
            slug=name.lower().replace(" ", "-"),
            name=name,
            count=count,
            price=euros(price),
        )
        for name, count, price in rows
    )
    total = euros(sum(count * price for _, count, price in rows))
    return PAGE.format(token=TOKEN, city=city, rows=table, total=total, host=SENDER_DOMAIN)
