"""Short honest mail passes, in any language: a test, a note, a code, a link."""

from collections.abc import Iterator

import pytest

from contracts.ingest.v1.content_pb2 import Content
from tests.unit.services.shield.samples import PASS, make_content, screen_content

SENDERS = (
    "Acme <hello@acme.example>",
    "ann@acme.example",
    "Ann Miller <ann@acme.example>",
    "Blue Harbor <no-reply@mail-acme.example>",
)
SUBJECTS = ("", "Hello", "Test", "Your order 17", "Re: lunch", "Invoice 4711", "(no subject)")
WORDS = (
    "hello",
    "x",
    "it works",
    "This is a test.",
    "ok, thanks!",
    "See attached.",
    "Thanks for your order.",
    "Hi Bob,\n\nsee you at 5.\n\nAnn",
    "https://acme.example/docs/1",
    "Here it is: https://www.youtube.com/watch?v=dQw4w9WgXcQ",
)
PAGES = (
    "<b>hello</b>",
    "<h1>Hello</h1>",
    '<a href="https://acme.example/x">link</a>',
    '<p><a href="https://example.com/x">Open</a></p>',
    "<p>Congrats on sending your <strong>first email</strong>!</p>",
    '<img src="https://acme.example/logo.png" alt="Acme"><p>Hello</p>',
)
LINES = {
    "Password changed": "Your password was changed.",
    "Payment failed": "Your payment of $12.00 failed. Update your card: https://acme.example/pay",
    "Payment received": "We received your payment of €25.00. Thank you!",
    "Verify your email": "Please verify your email: https://acme.example/verify?token=abc123",
    "Card used": "Your card ending in 4242 was used for $18.20 at Blue Cafe.",
    "Two-factor code": "123456",
    "Alert": "CPU 95% on web-1",
    "Delivery attempt": "We missed you. Your parcel is at the shop, 12 Pine Street.",
    "Invitation": "Ann invited you to Acme: https://acme.example/join/1",
    "Ihre Bestellung": "Vielen Dank für Ihre Bestellung.",
    "Passwort zurücksetzen": "Neues Passwort: https://acme.example/reset/1",
    "Votre commande": "Merci pour votre commande.",
    "Rendez-vous": "Votre rendez-vous est confirmé.",
    "Tu pedido": "Gracias por tu pedido.",
    "Factura 17": "Adjuntamos su factura.",
    "Ciao": "Ciao Anna, a domani!",
    "Seu pedido": "Obrigado pelo seu pedido.",
    "Je bestelling": "Bedankt voor je bestelling.",
    "Twoje zamówienie": "Dziękujemy za zamówienie.",
    "Din beställning": "Tack för din beställning.",
    "Objednávka": "Děkujeme za vaši objednávku.",
    "Siparişiniz": "Siparişiniz için teşekkürler.",
    "Ваш код": "Ваш код: 482913.",
    "認証コード": "認証コードは 482913 です。",
    "验证码": "您的验证码是 482913。",
    "안녕하세요": "주문해 주셔서 감사합니다.",
    "Γεια σου": "Ευχαριστούμε για την παραγγελία.",  # noqa: RUF001 - Greek
    "שלום": "תודה על ההזמנה.",
    "مرحبا": "شكرا لطلبك.",
}


def forms(subject: str, line: str, sender: str) -> Iterator[Content]:
    page = "".join(f"<p>{each}</p>" for each in line.split("\n\n"))
    yield make_content(subject, text=line, sender=sender)
    yield make_content(subject, html=page, sender=sender)
    yield make_content(subject, text=line, html=f"<html><body>{page}</body></html>", sender=sender)


def held(mail: Iterator[Content]) -> list[str]:
    """Those that do not pass, with their scores."""
    found = [(screen_content(each), each) for each in mail]
    return [
        f"{result.score} {each.subject!r} {each.text!r} {each.html!r}"
        for result, each in found
        if result.verdict != PASS
    ]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_word_or_a_link_passes_whatever_its_subject(subject: str) -> None:
    words = (each for line in WORDS for each in forms(subject, line, SENDERS[0]))
    assert held(words) == []
    assert held(make_content(subject, html=page) for page in PAGES) == []


@pytest.mark.parametrize("sender", SENDERS)
def test_a_line_passes_in_any_language_whoever_sends_it(sender: str) -> None:
    assert held(each for item in LINES.items() for each in forms(*item, sender)) == []
