"""Automatic replies in several languages and headers are not bounces."""

import pytest

from mail import inbound_report
from mail.headers import text_field
from mail.inbound_report import ReportKind

AWAY = (
    b"From: Bob <bob@b.example>\r\n%b\r\nI am away. Call 550 5551234 or write to x@b.example.\r\n"
)
SUBJECTS = (
    "Automatic reply: Hello", "Auto-Reply: Hello", "Autoreply: Hello", "Auto response: Hello",
    "Automatische Antwort: Hallo", "Automatisch antwoord: Hallo", "Automatiskt svar: Hej",
    "Autosvar: Hej", "Automatisk svar: Hei", "Automatická odpověď: Ahoj",
    "Automatyczna odpowiedź: Hello", "Automaattinen vastaus: Hei", "Automatikus válasz: Szia",
    "Réponse automatique : Bonjour", "Respuesta automática: Hola", "Risposta automatica: Ciao",
    "Resposta automática: Olá", "Otomatik yanıt: Merhaba", "Out of Office: Hello",  # noqa: RUF001
    "Abwesenheitsnotiz: Hallo", "自動返信: Hello", "自動応答: Hello", "自动回复: Hello",
    "자동 회신: Hello", "Автоответ: Hello", "Автоматический ответ: Hello",
)  # fmt: skip
NOT_AUTOMATIC = (
    "Re: automatic reply buttons",
    "Automation of replies",
    "Auto parts, response needed",
)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_automatic_reply_is_recognized_by_its_subject(subject: str) -> None:
    found = inbound_report.parse_report(AWAY % text_field("Subject", subject))
    assert (found.kind, found.failures) == (ReportKind.AUTO_REPLY, ())


@pytest.mark.parametrize("subject", NOT_AUTOMATIC)
def test_a_person_who_mentions_automatic_replies_is_not_one(subject: str) -> None:
    assert (
        inbound_report.parse_report(AWAY % text_field("Subject", subject)).kind is ReportKind.OTHER
    )


def test_a_generated_message_is_a_reply_only_with_a_reference() -> None:
    generated = b"Subject: Hello\r\nAuto-Submitted: auto-generated\r\n"
    assert inbound_report.parse_report(AWAY % (generated + b"In-Reply-To: <1@a.example>\r\n")).kind is ReportKind.AUTO_REPLY  # fmt: skip # noqa: E501
    assert inbound_report.parse_report(AWAY % generated).kind is ReportKind.OTHER


def test_a_receipt_is_not_a_bounce() -> None:
    raw = (
        b"From: bob@b.example\r\nSubject: Not read: Hello\r\nContent-Type: multipart/report;"
        b" report-type=disposition-notification; boundary=b\r\n\r\n--b\r\n\r\ndeleted\r\n--b\r\n"
        b"Content-Type: message/disposition-notification\r\n\r\n"
        b"Final-Recipient: rfc822;bob@b.example\r\n"
        b"Disposition: automatic-action/MDN-sent-automatically; deleted\r\n--b--\r\n"
    )
    assert inbound_report.parse_report(raw).kind is ReportKind.OTHER
