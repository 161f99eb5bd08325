"""Parsers of the mail standards that read text from the network."""

from mail import (
    address,
    bounce,
    dkim_verify,
    encoded_words,
    headers,
    html,
    inbound_report,
    normalized_text,
    parser,
    smtp_reply,
    tracking,
)

READERS = {
    "address": address.parse_mailbox,
    "addresses": lambda text: list(address.split_list(text)),
    "words": encoded_words.decode,
    "custom_field": lambda text: headers.custom_field("X-A", text),
    "subject": lambda text: headers.text_field("Subject", text),
    "message": lambda text: list(parser.walk(parser.parse_entity(text.encode()))),
    "reply": lambda text: smtp_reply.parse_reply(text.encode()),
    "bounce": lambda text: bounce.classify(550, "", text),
    "report": lambda text: inbound_report.parse_report(text.encode()),
    "tags": dkim_verify.parse_tags,
    "html": html.read_html,
    "html_text": html.to_text,
    "plain": normalized_text.normalize_and_lower,
    "rewrite_html": lambda text: tracking.rewrite_html(text, str.upper),
    "rewrite_text": lambda text: tracking.rewrite_text(text, str.upper),
}
