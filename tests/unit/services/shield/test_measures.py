"""Measures of links, senders, attachments and markup."""

from io import BytesIO
from zipfile import ZipFile

import pytest

from contracts.ingest.v1.content_pb2 import Attachment
from services.shield.domain.links import registered_domain
from tests.unit.services.shield.samples import HOLD, make_content, rules, screen_content


def anchor(href: str, text: str = "here") -> str:
    return f'<p>See <a href="{href}">{text}</a> for more.</p>'


def attached(filename: str, content: bytes = b"") -> Attachment:
    return Attachment(filename=filename, content_type="application/octet-stream", content=content)


def zipped(*names: str) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("203.0.113.7", "203.0.113.7"),
        ("localhost", "localhost"),
    ],
)
def test_the_registered_domain_of_a_host(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


def test_a_link_whose_text_names_another_domain_is_counted() -> None:
    fired = rules(
        make_content(html=anchor("http://evil.example/x", "https://www.bank.example/login"))
    )
    assert fired["link_text_elsewhere"] == "www.bank.example leads to evil.example"


def test_a_link_to_the_senders_tracker_is_not_counted() -> None:
    html = anchor("https://click.acme.example/x1", "www.partner.example")
    assert "link_text_elsewhere" not in rules(make_content(html=html))


def test_a_link_to_an_ip_address_is_counted() -> None:
    assert "link_ip" in rules(make_content(text="go to http://203.0.113.7/login now"))


def test_a_link_with_a_host_as_userinfo_is_counted() -> None:
    assert "link_userinfo" in rules(
        make_content(html=anchor("http://www.bank.example@203.0.113.7/"))
    )


def test_a_punycode_host_is_counted() -> None:
    assert "link_punycode" in rules(make_content(html=anchor("https://xn--pypal-4ve.example/")))


def test_a_brand_in_a_foreign_host_is_counted_and_in_its_own_is_not() -> None:
    stranger = make_content(html=anchor("https://paypal.com.login.example/"))
    own = make_content(html=anchor("https://www.paypal.com/invoice/1"))
    regional = make_content(html=anchor("https://www.ebay.it/item"))
    assert "link_brand_host" in rules(stranger)
    assert "link_brand_host" not in rules(own) | rules(regional)


def test_a_brand_as_display_name_of_a_foreign_address_is_counted() -> None:
    assert "from_brand" in rules(make_content(sender="PayPal Service <info@secure-mail.example>"))
    assert "from_brand" not in rules(make_content(sender="PayPal <service@paypal.com>"))


def test_an_address_as_display_name_of_another_is_counted() -> None:
    assert "from_name_is_address" in rules(
        make_content(sender='"ceo@acme.example" <x@evil.example>')
    )


def test_reply_to_a_free_mailbox_is_counted() -> None:
    assert "reply_to_freemail" in rules(make_content(reply_to=("ana@gmail.com",)))


def test_a_shortener_counts_only_in_a_message_with_few_targets() -> None:
    many = "".join(anchor(f"https://site{letter_}.example/") for letter_ in "abcdefgh")
    assert "link_shortener" in rules(make_content(html=anchor("https://bit.ly/x")))
    assert "link_shortener" not in rules(make_content(html=many + anchor("https://bit.ly/x")))


@pytest.mark.parametrize("name", ["setup.exe", "Invoice.PDF.SCR", "run.js", "a.lnk"])
def test_an_executable_is_held_with_any_text(name: str) -> None:
    assert (
        screen_content(make_content(text="see attached", attachments=(attached(name),))).verdict
        >= HOLD
    )


def test_a_renamed_executable_is_detected_by_its_first_bytes() -> None:
    assert "attachment_program" in rules(
        make_content(attachments=(attached("cat.jpg", b"MZ\x90"),))
    )


def test_a_double_extension_is_counted() -> None:
    assert "attachment_double" in rules(make_content(attachments=(attached("invoice.pdf.exe"),)))
    assert "attachment_double" in rules(
        make_content(attachments=(attached("cv.pdf          .scr"),))
    )
    assert "attachment_double" not in rules(make_content(attachments=(attached("v1.2.notes.pdf"),)))


def test_an_executable_in_a_zip_file_is_counted_and_a_photo_is_not() -> None:
    program = make_content(attachments=(attached("docs.zip", zipped("readme.txt", "x/run.exe")),))
    photos = make_content(attachments=(attached("photos.zip", zipped("1.jpg", "2.jpg")),))
    assert rules(program)["attachment_archived_program"] == "x/run.exe in docs.zip"
    assert "attachment_archived_program" not in rules(photos)


def test_a_broken_zip_file_is_ignored() -> None:
    broken = make_content(attachments=(attached("a.zip", zipped("a.exe")[:40]),))
    assert "attachment_archived_program" not in rules(broken)


def test_a_subject_in_capitals_is_counted() -> None:
    assert "subject_shouting" in rules(make_content("READ THIS IMPORTANT MESSAGE"))
    assert "subject_shouting" not in rules(make_content("FYI"))


def test_text_without_size_is_counted_and_a_preheader_is_not() -> None:
    hidden = f'<div style="font-size:1px;color:#fff">{"filler words " * 30}</div><p>Hello</p>'
    preheader = '<span style="font-size:1px">Your order has shipped</span><p>Hello</p>'
    assert "hidden_text" in rules(make_content(html=hidden))
    assert "hidden_text" not in rules(make_content(html=preheader))


def test_a_password_field_is_counted() -> None:
    html = '<form action="http://x.example"><input type="Password" name="p"></form>'
    assert {"forms", "passwords"} <= rules(make_content(html=html)).keys()


def test_words_cut_by_tags_are_counted() -> None:
    assert "cut_words" in rules(make_content(html="<p>" + "vi<!-- x -->ag<b>ra</b> " * 6 + "</p>"))


def test_a_foreign_letter_among_latin_ones_is_counted() -> None:
    assert "mixed_scripts" in rules(make_content(text="your p\u0430ypal account"))
    assert "mixed_scripts" not in rules(make_content(text="Привет from Berlin, Ελλάδα and Acme"))


def test_scripts_and_styles_are_not_read_as_words() -> None:
    html = "<style>viagra{}</style><script>'viagra'</script><p>Hello</p>"
    assert "drug_names" not in rules(make_content(html=html))
