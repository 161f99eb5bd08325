"""Untrusted text of any length is parsed in bounded time."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import (
    address,
    bounce,
    dkim_verify,
    encoded_words,
    headers,
    html,
    html_part,
    inbound_report,
    links,
    mta_sts,
    normalized_text,
    parser,
    smtp_reply,
    tls_rpt,
    tracking,
    unsubscribe,
    url,
)

N = 40_000
EVIL_PIECES = (
    "=?", "=?a?q?", "a", " ", "\t;", '"', '\\"', "<", "@", "a@", "a.b-", "-", "1.1.", "https://",
    "<a ", "<a x='", "<!--", "</body ", "<script>", "<b x=\"", "<a href=https://x.example>", "(",
    "4 5 0 ", "b =", "; a", "\n", "\n ", "=3D", "%00", "*.a.", "5.1.1 ",
)  # fmt: skip
EVIL = [piece * N for piece in EVIL_PIECES]
MOMENT_S = 120  # for all of them, on a busy machine; a quadratic reader takes minutes for one


def _quiet(function: Callable[[str], object]) -> Callable[[str], None]:
    def call(text: str) -> None:
        try:
            function(text)
        except ValueError:
            return

    return call


READERS: dict[str, Callable[[str], object]] = {
    "address": address.parse_mailbox,
    "addresses": lambda text: list(address.split_list(text)),
    "words": encoded_words.decode,
    "parameters": parser.parse_parameters,
    "message": lambda text: list(parser.walk(parser.parse_entity(text.encode()))),
    "parts": lambda text: parser.split_parts(text.encode(), b"a"),
    "reply": lambda text: smtp_reply.parse_reply(text.encode()),
    "classify": lambda text: bounce.classify(550, "", text),
    "normalise": bounce.normalize_diagnostic,
    "report": lambda text: inbound_report.parse_report(
        b"From: MAILER-DAEMON@x.example\n\n" + text.encode()
    ),
    "status": lambda text: inbound_report.parse_report(
        b"Content-Type: message/delivery-status\n\nAction: failed\nDiagnostic-Code: "
        + text.encode()
    ),
    "tags": dkim_verify.parse_tags,
    "signature": lambda text: dkim_verify.parse_received(
        f"DKIM-Signature: {text}\n\n{text}".encode()
    ).signatures(),
    "custom": lambda text: headers.custom_field("X-A", text),
    "subject": lambda text: headers.text_field("Subject", text),
    "html": html.read_html,
    "html_text": html.to_text,
    "plain": normalized_text.normalize_and_lower,
    "urls": url.find_urls,
    "authority": url.parse_authority,
    "links": lambda text: list(links.find_links(text)),
    "end_of_body": links.end_of_body,
    "html_part": lambda text: html_part.find_html(text.encode()),
    "click": lambda text: tracking.read_click(text, (b"k" * 16,)),
    "unsubscribe": lambda text: unsubscribe.is_one_click("multipart/form-data; a=b", text.encode()),
    "policy": lambda text: mta_sts.parse_policy(text.encode()),
    "policy_id": lambda text: mta_sts.policy_id((f"v=STSv1; id={text}",)),
    "destinations": lambda text: tls_rpt.parse_destinations([f"v=TLSRPTv1; rua={text}"]),
}


@pytest.mark.timeout(MOMENT_S)
@pytest.mark.parametrize("name", READERS)
def test_hostile_text_is_parsed_in_bounded_time(name: str) -> None:
    read = _quiet(READERS[name])
    for evil in EVIL:
        read(evil)


@pytest.mark.parametrize("name", READERS)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_parsed_or_rejected(name: str, text: str) -> None:
    _quiet(READERS[name])(text)
