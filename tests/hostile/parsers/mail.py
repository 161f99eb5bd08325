"""Parsers of the mail standards that read text from the network."""

from mail import (
    address,
    bounce,
    dkim_verify,
    encoded_words,
    forwarding,
    headers,
    html,
    html_part,
    inbound_report,
    links,
    normalized_text,
    parser,
    smtp_reply,
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
    "trace": lambda text: forwarding.trace_of(text.encode()),
    "report": lambda text: inbound_report.parse_report(text.encode()),
    "tags": dkim_verify.parse_tags,
    "html": html.read_html,
    "html_text": html.to_text,
    "plain": normalized_text.normalize_and_lower,
    "links": lambda text: list(links.find_links(text)),
    "html_part": lambda text: html_part.find_html(text.encode()),
}
