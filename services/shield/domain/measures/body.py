"""Measures of how a message is written, independent of its topic."""

import re
from functools import partial

import re2

from services.shield.domain.measures.finding import NONE, Finding, Measure, NameLists
from services.shield.domain.parsing import ParsedMessage

SAMPLE_CHARS = 3_000  # enough to judge the style
MARKUP_CHARS = 40_000
NOT_LOWER = re.compile(r" ([^a-z ]{4,})(?= )")  # words that may be in capitals
# Text for filters only: it has no size, and is longer than a preheader.
TINY_SIZE = re2.compile(r"font-size: ?[01](?:px|pt|%)?[;\"']")  # a cheap first search
TINY = re.compile(r"font-size: ?[01](?:px|pt|%)?[;\"'][^<>]{0,200}>[^<>]{200}")
PALE = re.compile(
    r"<font[^>]{1,80}color\s*=\s*[\"']?#?(?:f[c-f]f[c-f]f[c-f]|white)\b", re.IGNORECASE
)
WORD_GOES_ON = re2.compile(r">[a-z]")  # after a tag; rare enough for a cheap first search
# The literal < comes first and the lookbehind after it, so that the search is a memchr.
INSIDE_WORD = re.compile(r"<(?<=[a-z]<)(?:!--[^<>]{0,60}--|/?[a-z]{1,12}[^<>]{0,20})>(?=[a-z])")
MONEY = {sign: re.compile(rf"{re.escape(sign)} ?\d") for sign in "$£€"}


def html_only(message: ParsedMessage, _: NameLists) -> Finding:
    return Finding(1) if message.html and not message.text else NONE


def html_per_word(message: ParsedMessage, _: NameLists) -> Finding:
    """Characters of markup per character of visible text."""
    return Finding(len(message.html) / (len(message.page_text) + 1))


def word_count(message: ParsedMessage, _: NameLists) -> Finding:
    return Finding(message.longer_text.count(" ") + bool(message.longer_text))


def images_per_hundred_words(message: ParsedMessage, lists: NameLists) -> Finding:
    """Images per hundred words: filters cannot read text in pictures."""
    images = message.page.tags.count("img")
    return Finding(100 * images / (word_count(message, lists).value + 1))


def capitals_share(message: ParsedMessage, _: NameLists) -> Finding:
    """Share of words in capitals, from twenty words on."""
    sample = message.longer_text[: SAMPLE_CHARS // 3]
    count = sample.count(" ") + 1
    shouted = sum(map(str.isupper, NOT_LOWER.findall(f" {sample} ")))
    return Finding(shouted / count) if shouted and count >= 20 else NONE


def exclamations_per_hundred_words(message: ParsedMessage, _: NameLists) -> Finding:
    """Exclamation marks per hundred words."""
    sample = message.longer_text[:SAMPLE_CHARS]
    return per_hundred(sample.count("!") if "!" in sample else 0, sample)


def per_hundred(count: int, sample: str) -> Finding:
    return Finding(100 * count / (sample.count(" ") + 20)) if count else NONE


def exclamation_runs(message: ParsedMessage, _: NameLists) -> Finding:
    sample = message.longer_text[:SAMPLE_CHARS]
    return Finding(sample.count("!!")) if "!" in sample else NONE


def money_per_hundred_words(message: ParsedMessage, _: NameLists) -> Finding:
    """Amounts of money per hundred words."""
    sample = message.longer_text[:SAMPLE_CHARS]
    amounts = [len(each.findall(sample)) for sign, each in MONEY.items() if sign in sample]
    return per_hundred(sum(amounts), sample)


def hidden_text(message: ParsedMessage, _: NameLists) -> Finding:
    if not TINY_SIZE.search(message.markup):
        return NONE
    return Finding(len(TINY.findall(message.html[:MARKUP_CHARS])))


def white_text(message: ParsedMessage, _: NameLists) -> Finding:
    """Text in white or nearly white, which only filters read."""
    return Finding(len(PALE.findall(message.html[:MARKUP_CHARS])))


def tags_inside_words(message: ParsedMessage, _: NameLists) -> Finding:
    """Tags and comments inside words."""
    if not WORD_GOES_ON.search(message.markup):
        return NONE
    return Finding(len(INSIDE_WORD.findall(message.html[:MARKUP_CHARS])))


def count_elements(tag: str, message: ParsedMessage, _: NameLists) -> Finding:
    return Finding(message.page.tags.count(tag))


def password_fields(message: ParsedMessage, _: NameLists) -> Finding:
    return Finding(message.page.password_fields)


def has_html(message: ParsedMessage, _: NameLists) -> bool:
    return bool(message.html)


def has_elements(message: ParsedMessage, _: NameLists) -> bool:
    """True if there are elements other than links."""
    return message.page.tags.count("a") < len(message.page.tags)


ELEMENTS = {
    "images": "img",
    "forms": "form",
    "frames": "iframe",
    "scripts": "script",
    "image_map_areas": "area",
}
OF_ELEMENTS: dict[str, Measure] = {
    name: partial(count_elements, tag) for name, tag in ELEMENTS.items()
} | {each.__name__: each for each in (password_fields, images_per_hundred_words)}
OF_HTML: dict[str, Measure] = {
    each.__name__: each
    for each in (html_only, html_per_word, hidden_text, white_text, tags_inside_words)
}
OF_WORDS: dict[str, Measure] = {
    each.__name__: each
    for each in (
        word_count,
        capitals_share,
        exclamations_per_hundred_words,
        exclamation_runs,
        money_per_hundred_words,
    )
}
MEASURES = OF_ELEMENTS | OF_HTML | OF_WORDS
NEEDS = dict.fromkeys(OF_ELEMENTS, has_elements) | dict.fromkeys(OF_HTML, has_html)
