"""How a message is written, whatever it says."""

import re
from functools import partial

import re2

from services.shield.domain.measures.finding import NONE, Finding, Measure, Terms
from services.shield.domain.reading import Reading

SAMPLE_CHARS = 3_000  # enough to know how somebody writes
MARKUP_CHARS = 40_000
NOT_LOWER = re.compile(r" ([^a-z ]{4,})(?= )")  # words that may be in capitals
# Text that is there for filters only: it has no size, and more of it than a preheader.
TINY_SIZE = re2.compile(r"font-size: ?[01](?:px|pt|%)?[;\"']")  # to look for first
TINY = re.compile(r"font-size: ?[01](?:px|pt|%)?[;\"'][^<>]{0,200}>[^<>]{200}")
PALE = re.compile(
    r"<font[^>]{1,80}color\s*=\s*[\"']?#?(?:f[c-f]f[c-f]f[c-f]|white)\b", re.IGNORECASE
)
WORD_GOES_ON = re2.compile(r">[a-z]")  # behind a tag; rare enough to look for first
# The literal < comes first, and what must stand before it after: searching stays a memchr.
INSIDE_WORD = re.compile(r"<(?<=[a-z]<)(?:!--[^<>]{0,60}--|/?[a-z]{1,12}[^<>]{0,20})>(?=[a-z])")
MONEY = {sign: re.compile(rf"{re.escape(sign)} ?\d") for sign in "$£€"}
QUOTED = re.compile(r"(?m)^ ?>")


def html_only(reading: Reading, _: Terms) -> Finding:
    return Finding(1) if reading.html and not reading.text else NONE


def html_per_word(reading: Reading, _: Terms) -> Finding:
    """Characters of markup for each that is read."""
    return Finding(len(reading.html) / (len(reading.page_text) + 1))


def words(reading: Reading, _: Terms) -> Finding:
    return Finding(reading.words.count(" ") + bool(reading.words))


def images_per_word(reading: Reading, terms: Terms) -> Finding:
    """Images for each hundred words: text in pictures is text that filters do not read."""
    images = reading.page.tags.count("img")
    return Finding(100 * images / (words(reading, terms).value + 1))


def capitals(reading: Reading, _: Terms) -> Finding:
    """Words in capitals among all, from twenty words on."""
    sample = reading.words[: SAMPLE_CHARS // 3]
    count = sample.count(" ") + 1
    shouted = sum(map(str.isupper, NOT_LOWER.findall(f" {sample} ")))
    return Finding(shouted / count) if shouted and count >= 20 else NONE


def exclamations(reading: Reading, _: Terms) -> Finding:
    """Exclamation marks for each hundred words."""
    sample = reading.words[:SAMPLE_CHARS]
    return per_hundred(sample.count("!") if "!" in sample else 0, sample)


def per_hundred(count: int, sample: str) -> Finding:
    return Finding(100 * count / (sample.count(" ") + 20)) if count else NONE


def exclamation_runs(reading: Reading, _: Terms) -> Finding:
    sample = reading.words[:SAMPLE_CHARS]
    return Finding(sample.count("!!")) if "!" in sample else NONE


def money(reading: Reading, _: Terms) -> Finding:
    """Amounts for each hundred words."""
    sample = reading.words[:SAMPLE_CHARS]
    amounts = [len(each.findall(sample)) for sign, each in MONEY.items() if sign in sample]
    return per_hundred(sum(amounts), sample)


def hidden_text(reading: Reading, _: Terms) -> Finding:
    if not TINY_SIZE.search(reading.markup):
        return NONE
    return Finding(len(TINY.findall(reading.html[:MARKUP_CHARS])))


def pale_text(reading: Reading, _: Terms) -> Finding:
    """Text in white or nearly: seen by filters, not by readers."""
    return Finding(len(PALE.findall(reading.html[:MARKUP_CHARS])))


def cut_words(reading: Reading, _: Terms) -> Finding:
    """Tags and comments in the middle of words."""
    if not WORD_GOES_ON.search(reading.markup):
        return NONE
    return Finding(len(INSIDE_WORD.findall(reading.html[:MARKUP_CHARS])))


def quoted_lines(reading: Reading, _: Terms) -> Finding:
    """Lines that quote an earlier message."""
    sample = reading.source[:SAMPLE_CHARS]
    return Finding(len(QUOTED.findall(sample))) if ">" in sample else NONE


def elements(tag: str, reading: Reading, _: Terms) -> Finding:
    return Finding(reading.page.tags.count(tag))


def passwords(reading: Reading, _: Terms) -> Finding:
    return Finding(reading.page.passwords)


def has_html(reading: Reading, _: Terms) -> bool:
    return bool(reading.html)


def has_elements(reading: Reading, _: Terms) -> bool:
    """Others than links."""
    return reading.page.tags.count("a") < len(reading.page.tags)


ELEMENTS = {
    "images": "img",
    "forms": "form",
    "frames": "iframe",
    "scripts": "script",
    "maps": "area",
}
OF_ELEMENTS: dict[str, Measure] = {
    name: partial(elements, tag) for name, tag in ELEMENTS.items()
} | {each.__name__: each for each in (passwords, images_per_word)}
OF_HTML: dict[str, Measure] = {
    each.__name__: each for each in (html_only, html_per_word, hidden_text, pale_text, cut_words)
}
OF_WORDS: dict[str, Measure] = {
    each.__name__: each
    for each in (words, capitals, exclamations, exclamation_runs, money, quoted_lines)
}
MEASURES = OF_ELEMENTS | OF_HTML | OF_WORDS
NEEDS = dict.fromkeys(OF_ELEMENTS, has_elements) | dict.fromkeys(OF_HTML, has_html)
