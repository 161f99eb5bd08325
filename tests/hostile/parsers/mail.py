"""The standards, as far as they read text of strangers."""

from mail import address, bounce, headers, html, links, message, plain, reply, report, verify, words

READERS = {
    "address": address.parse,
    "addresses": lambda text: list(address.split_list(text)),
    "words": words.decode,
    "custom_field": lambda text: headers.custom_field("X-A", text),
    "subject": lambda text: headers.unstructured("Subject", text),
    "message": lambda text: list(message.walk(message.read(text.encode()))),
    "reply": lambda text: reply.parse(text.encode()),
    "bounce": lambda text: bounce.classify(550, "", text),
    "report": lambda text: report.parse(text.encode()),
    "tags": verify.parse_tags,
    "html": html.read,
    "html_text": html.to_text,
    "plain": plain.line,
    "rewrite_html": lambda text: links.rewrite_html(text, str.upper),
    "rewrite_text": lambda text: links.rewrite_text(text, str.upper),
}
