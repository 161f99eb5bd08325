"""Examples of mail that must pass and of mail that must not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ingest.v1.content_pb2 import Attachment, Content, Header
from services.shield.domain.rulebook import Thresholds
from services.shield.domain.scoring import thresholds_of_tenant
from tests.unit.services.shield.samples import (
    BLOCK,
    HOLD,
    PASS,
    make_content,
    rules,
    scorer,
    screen_content,
)

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

WANTED = {
    "a hello": make_content(text="it works"),
    "an empty message": Content(),
    "a password reset, HTML only, links elsewhere": make_content(
        "Reset your password",
        html="<p>Hi Ana,</p><p>Somebody reads to reset your password. If that was you:</p>"
        '<p><a href="https://app.acme.io/reset?token=8f3a9c">Reset password</a></p>'
        "<p>The link is valid for 24 hours. If it was not you, ignore this email.</p>",
    ),
    "a verification of an address": make_content(
        "Verify your email address",
        html="<h1>Welcome!</h1><p>Please verify your email to activate your account.</p>"
        '<a href="https://acme.example/verify/abc">Verify email</a>',
    ),
    "a security notice": make_content(
        "New sign-in to your account",
        text="We noticed a new sign-in to your Acme account from Chrome on Windows. If this was "
        "not you, change your password: https://acme.example/security",
    ),
    "an invoice with its PDF": make_content(
        "Invoice 2026-00381 from Acme",
        text="Dear customer,\nyour invoice over $1,240.00 is attached and due in 14 days.\nThanks!",
        attachments=(Attachment(filename="invoice-381.pdf", content_type="application/pdf"),),
    ),
    "a failed payment": make_content(
        "Your payment failed",
        html="<p>We could not charge your card. Update your payment method to keep your "
        'subscription.</p><a href="https://billing.acme.io/update">Update payment method</a>',
    ),
    "a parcel on its way": make_content(
        "Your order 10293847 has shipped",
        text="Good news! Your package is on its way. Track it: https://track.acme.example/10293847",
    ),
    "a sale by a shop": make_content(
        "Summer sale: up to 50 % off",
        html="<h1>Summer sale!</h1><p>Save up to 50 % on linen shirts. Free shipping over $50.</p>"
        '<a href="https://acme.example/sale">Shop now</a><p>Offer ends Sunday.</p>'
        '<a href="https://acme.example/unsubscribe">Unsubscribe</a>',
        headers=(Header(name="List-Unsubscribe", value="<https://acme.example/u/1>"),),
    ),
    "a one-time code": make_content("482913 is your code", text="482913 is your Acme code."),
    "a letter in German": make_content(
        "Ihre Bestellung bei Müller & Söhne",
        text="Sehr geehrte Frau Weiß,\nvielen Dank für Ihre Bestellung. Wir liefern am Dienstag.",
    ),
    "a letter in Russian": make_content(
        "Ваш заказ отправлен", text="Здравствуйте! Ваш заказ в пути."
    ),
    "an answer among colleagues": make_content(
        "Re: lunch?",
        text="Sounds good, see you at noon!\n\n> shall we have lunch?\n> the usual place?",
    ),
}

UNWANTED = {
    "a pharmacy": make_content(
        "Cheap meds online, no prescription!",
        sender="Meds <x93k@yahoo.com>",
        html="<p>Viagra, Cialis and Xanax at the lowest prices. No prescription needed! Order now."
        '</p><a href="http://meds4you.biz/?a=1">Order</a>',
    ),
    "a dead general's fortune": make_content(
        "CONFIDENTIAL BUSINESS PROPOSAL",
        sender="Dr. James Okoro <james@africamail.example>",
        reply_to=("okoro_private@yahoo.com",),
        text="Dear Sir, I am Dr. James Okoro of the Central Bank of Nigeria. My late client died "
        "in a plane crash without next of kin, leaving the sum of US$18.5 million with a security "
        "company. I seek your assistance as a foreign partner to transfer this fund to your "
        "country. Strictly confidential. Await your urgent reply. God bless.",
    ),
    "a bank that is none": make_content(
        "Your account has been suspended",
        sender="PayPal Security <support@secure-mail.example>",
        html="<p>Dear PayPal customer,</p><p>Your account has been limited after suspicious "
        "activity. Please verify your account information within 24 hours or it will be "
        'permanently suspended.</p><a href="http://203.0.113.7/paypal.com/login">'
        "https://www.paypal.com/login</a>",
    ),
    "a pump and dump": make_content(
        "This stock will explode",
        sender="Wall Street Watch <alerts@acme.example>",
        text="INVESTOR ALERT! Symbol: XYZQ.PK Current price: $0.12 Target price: $1.50. This "
        "undervalued penny stock is poised to explode!! Get in now. This report contains forward-"
        "looking statements; we were paid $15,000, not an offer to buy or sell any security.",
    ),
}


@pytest.mark.parametrize("content", WANTED.values(), ids=WANTED)
def test_wanted_mail_passes(content: Content) -> None:
    result = screen_content(content)
    assert result.verdict == PASS, result.reasons


@pytest.mark.parametrize("content", UNWANTED.values(), ids=UNWANTED)
def test_unwanted_mail_does_not_pass(content: Content) -> None:
    result = screen_content(content)
    assert result.verdict in {HOLD, BLOCK}, result.reasons


@pytest.mark.parametrize(
    "content", [make_content(text=GTUBE), make_content(html=f"<p>{GTUBE}</p>")]
)
def test_gtube_is_blocked_in_either_part(content: Content) -> None:
    assert screen_content(content).verdict == BLOCK


def test_a_message_about_gtube_is_not_gtube() -> None:
    assert screen_content(make_content(text="What, I sent you the GTUBE? oops!")).verdict == PASS


def test_a_reason_quotes_the_matched_text() -> None:
    assert rules(make_content(text="Please confirm your billing details."))["verify_account"] == (
        "confirm your billing details"
    )


def test_reasons_are_ordered_by_weight() -> None:
    scores = [abs(each.score) for each in screen_content(UNWANTED["a pharmacy"]).reasons]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("content", UNWANTED.values(), ids=UNWANTED)
def test_reasons_name_what_raised_the_score_and_what_to_change(content: Content) -> None:
    reasons = screen_content(content).reasons
    assert sum(each.score > 0 for each in reasons) >= 3
    assert all(each.explanation and each.advice for each in reasons)


def test_the_words_of_a_reason_are_those_of_the_message() -> None:
    found = rules(UNWANTED["a dead general's fortune"])["words"].split(", ")
    text = UNWANTED["a dead general's fortune"].text.lower() + " confidential business proposal"
    assert found
    assert all(word in text for each in found for word in each.split())


def test_mail_that_passes_has_reasons_only_in_a_dry_run() -> None:
    content = WANTED["a failed payment"]
    assert not scorer().score(content).reasons
    assert scorer().score(content, quote=True).reasons


def test_a_rule_with_a_floor_overrides_the_model() -> None:
    program = Attachment(filename="invoice.exe", content_type="application/octet-stream")
    result = screen_content(make_content(text="it works", attachments=(program,)))
    assert result.score == 6.0
    [reason] = [each for each in result.reasons if each.rule == "attachment_program"]
    assert reason.score == 6.0


def test_who_sends_is_no_evidence() -> None:
    score = {
        domain: scorer().score(make_content(text="it works", sender=f"Ann <ann@{domain}>")).score
        for domain in ("gmail.com", "q7x-99.top", "acme.example")
    }
    assert len(set(score.values())) == 1


def test_disguised_letters_match_like_plain_ones() -> None:
    wide = "".join(chr(ord(each) + 0xFEE0) for each in "viagra")
    assert "drug_names" in rules(make_content(text=f"buy {wide}"))
    assert "drug_names" in rules(make_content(text="buy via\u200bgra"))


def test_a_tenant_can_have_its_own_thresholds() -> None:
    lenient = thresholds_of_tenant(50, 100, scorer().book.thresholds)
    result = scorer().score(UNWANTED["a pharmacy"], thresholds=lenient)
    assert result.verdict == PASS


def test_a_tenant_without_thresholds_has_the_default_ones() -> None:
    default = Thresholds(5, 10)
    assert thresholds_of_tenant(0, 0, default) == default


def test_a_block_threshold_below_hold_is_raised_to_hold() -> None:
    assert thresholds_of_tenant(12, 0, Thresholds(5, 10)) == Thresholds(12, 12)


def test_a_huge_message_is_read_up_to_a_limit() -> None:
    result = screen_content(make_content(text="a " * 5_000_000, html="<div>" * 200_000))
    assert result.verdict == PASS


headers = st.builds(Header, name=st.text(), value=st.text())
files = st.builds(
    Attachment,
    filename=st.text() | st.sampled_from(["a.zip", "b.pdf.exe", ".", "x" * 300]),
    content_type=st.text(),
    content=st.binary() | st.binary().map(lambda tail: b"PK\x03\x04" + tail),
)
urls = st.sampled_from(["http://", "http://[", "//@:", "https://a@b.c:99999/", "http://%00"])
markup = st.lists(
    st.text() | urls | urls.map(lambda url: f'<a href="{url}">{url}</a><img src="{url}">')
).map("<p>".join)


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        Content,
        subject=st.text(),
        text=st.text() | markup,
        html=st.text() | markup,
        reply_to=st.lists(st.text(), max_size=3),
        headers=st.lists(headers, max_size=3),
        attachments=st.lists(files, max_size=3),
    ),
    st.text(),
)
def test_any_text_gets_a_score(content: Content, sender: str) -> None:
    setattr(content, "from", sender)
    result = scorer().score(content, quote=True)
    assert result.verdict in {PASS, HOLD, BLOCK}
    assert -100 < result.score <= 1000
    assert all(len(each.detail) <= 120 for each in result.reasons)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_get_a_score(raw: bytes) -> None:
    assert scorer().score(make_content(text=raw.decode("latin-1"), html=raw.decode("latin-1")))
