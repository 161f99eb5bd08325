"""The messages that all contestants deliver."""

import json
from email import message_from_bytes
from email.policy import SMTP

from bench.messages import sites, variants

TEXTS = variants(sites(20))


def test_all_messages_are_different_and_about_ten_kilobytes() -> None:
    sizes = [len(text.mime(1)) for text in TEXTS]
    assert min(sizes) > 9500
    assert max(sizes) < 10500
    assert len({text.mime(1) for text in TEXTS}) == len(TEXTS) == 40


def test_json_and_mime_have_the_same_text_and_recipient() -> None:
    text = TEXTS[3]
    request = json.loads(text.json(42))
    mail = message_from_bytes(text.mime(42), policy=SMTP)
    assert request["to"] == [mail["To"]] == [text.recipient(42)]
    assert request["subject"] == mail["Subject"]
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().splitlines() == request["text"].splitlines()


def test_no_serial_is_split_by_a_line_break() -> None:
    pieces = {(len(text.json_pieces), len(text.mime_pieces)) for text in TEXTS}
    assert pieces == {(8, 9)}


def test_every_site_has_messages() -> None:
    assert {text.domain for text in TEXTS} == set(sites(20))
