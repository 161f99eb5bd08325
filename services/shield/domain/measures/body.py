"""How a message is written, whatever it says."""

import re
from functools import partial

from services.shield.domain.measures.finding import NONE, Finding, Measure, Terms
from services.shield.domain.reading import Page, Reading

SAMPLE_CHARS = 3_000  # enough to know how somebody writes
MARKUP_CHARS = 40_000
# Text that is there for filters only: it has no size, and more of it than a preheader.
TINY = re.compile(r"font-size: ?[01](?:px|pt|%)?[;\"'][^<>]{0,200}>[^<>]{200}")
PALE = re.compile(r"<font[^>]{1,80}color\s*=\s*[\"']?#?(?:f[c-f]f[c-f]f[c-f]|white)\b")
# The literal < comes first, and what must stand before it after: searching stays a memchr.
INSIDE_WORD = re.compile(r"<(?<=[a-z]<)(?:!--[^<>]{0,60}--|/?[a-z]{1,12}[^<>]{0,20})>(?=[a-z])")
MONEY = re.compile(r"[$£€] ?\d")
QUOTED = re.compile(r"(?m)^ ?>")


def html_only(reading: Reading, _: Terms) -> Finding:
    return Finding(float(bool(reading.html) and not reading.text))


def html_per_word(reading: Reading, _: Terms) -> Finding:
    """Characters of markup for each that is read."""
    html = len(reading.html)
    return Finding(html / (len(reading.page.text) + 1)) if html else NONE


def words(reading: Reading, _: Terms) -> Finding:
    return Finding(reading.words.count(" ") + bool(reading.words))


def images_per_word(reading: Reading, terms: Terms) -> Finding:
    """Images for each hundred words: text in pictures is text that filters do not read."""
    if not reading.page.images:
        return NONE
    return Finding(100 * reading.page.images / (words(reading, terms).value + 1))


def capitals(reading: Reading, _: Terms) -> Finding:
    """Words in capitals among all, from twenty words on."""
    sample = reading.words[: SAMPLE_CHARS // 3].split(" ")
    shouted = sum(map(str.isupper, [each for each in sample if len(each) > 3]))
    return Finding(shouted / len(sample)) if len(sample) >= 20 else NONE


def exclamations(reading: Reading, _: Terms) -> Finding:
    """Exclamation marks for each hundred words."""
    sample = reading.words[:SAMPLE_CHARS]
    return Finding(100 * sample.count("!") / (sample.count(" ") + 20))


def exclamation_runs(reading: Reading, _: Terms) -> Finding:
    return Finding(reading.words[:SAMPLE_CHARS].count("!!"))


def money(reading: Reading, _: Terms) -> Finding:
    """Amounts for each hundred words."""
    sample = reading.words[:SAMPLE_CHARS]
    return Finding(100 * len(MONEY.findall(sample)) / (sample.count(" ") + 20))


def hidden_text(reading: Reading, _: Terms) -> Finding:
    html = reading.html[:MARKUP_CHARS]
    return Finding(len(TINY.findall(html)))


def pale_text(reading: Reading, _: Terms) -> Finding:
    """Text in white or nearly: seen by filters, not by readers."""
    html = reading.html[:MARKUP_CHARS]
    if "font" not in html and "FONT" not in html:
        return NONE
    return Finding(len(PALE.findall(html.lower())))


def cut_words(reading: Reading, _: Terms) -> Finding:
    """Tags and comments in the middle of words."""
    return Finding(len(INSIDE_WORD.findall(reading.html[:MARKUP_CHARS])))


def quoted_lines(reading: Reading, _: Terms) -> Finding:
    """Lines that quote an earlier message."""
    return Finding(len(QUOTED.findall(reading.content.text[:SAMPLE_CHARS])))


def elements(name: str, reading: Reading, _: Terms) -> Finding:
    count: int = getattr(reading.page, name)
    return Finding(count)


COUNTED = tuple(each for each in Page.__slots__ if each not in {"text", "links"})

MEASURES: dict[str, Measure] = {name: partial(elements, name) for name in COUNTED} | {
    each.__name__: each
    for each in (
        html_only,
        html_per_word,
        words,
        images_per_word,
        capitals,
        exclamations,
        exclamation_runs,
        money,
        hidden_text,
        pale_text,
        cut_words,
        quoted_lines,
    )
}
