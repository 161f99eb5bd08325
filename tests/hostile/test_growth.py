"""Twice the text takes twice the time, whoever wrote it: no pattern and no parser looks at the same
characters again and again. The only tests that measure time: this process's own, and only of what
is not done at once."""

import ast
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import product

import pytest

from tests.hostile import READERS
from tests.hostile.patterns import Use, attacks, calls_of_re, modules, repeated, uses

CHARS = 2_000
QUICK_S = 0.005  # a few characters a microsecond
GROWTH_MAX = 2.5
TRIES, ROUNDS = 3, 3
# What never sees more than this, with the bound that sees to it.
BOUNDED = {
    "mail.address._PLAIN.fullmatch": 254,  # parse looks at the length first
    "mail.address._NAMED.fullmatch": 254,
    "services.ingest.domain.pointers._AT.match": 401,  # fault_of cuts what msgspec said
}
# Made at each call, of an address that is written out in it.
MADE_OF_TEXT = {"mail.bounce_text"}
BEGINNINGS = ("", "a@", "<", '"', "=?a?q?", "https://", "<a href='", "5.1.1 ", "X-A: ", "a; b=")
PIECES = (
    "a", "1.", "a.", "a-", " ", "\t", '"', "\\", "<", ">", "@", "a@", "=", "=3D", "%00", ";",
    "; a=", "\n", "\n ", "\r\n", "(", ")", "=?a?q?", "a,", "://", "/", "\u00e9", "{", "[",
)  # fmt: skip


def seconds(look: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    look(text)
    return time.process_time() - began


def grows(look: Callable[[str], object], text_of: Callable[[int], str]) -> bool:
    """Out of proportion. What is done at once is not measured again, what seems slow is: other
    programs take the processor's caches away, but not each time."""
    twice = text_of(2 * CHARS)
    if seconds(look, twice) < QUICK_S:
        return False
    text = text_of(CHARS)
    return all(
        least(look, twice) > max(QUICK_S, GROWTH_MAX * least(look, text)) for _ in range(ROUNDS)
    )


def least(look: Callable[[str], object], text: str) -> float:
    return min(seconds(look, text) for _ in range(TRIES))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", uses())
def test_a_pattern_looks_once_at_each_character(name: str) -> None:
    use = uses()[name]
    if name in BOUNDED:
        looks = (least(use.look, text(BOUNDED[name])) for text in attacks(use.pattern))
        assert max(looks) < QUICK_S
    else:
        assert next(slow_texts(use), None) is None


def slow_texts(use: Use) -> Iterator[str]:
    return (text(60) for text in attacks(use.pattern) if grows(use.look, text))


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s{5,}\.", "search"),
        (r"[^@]+@(?:[A-Za-z0-9-]+\.)+(?=\S*[A-Za-z])[A-Za-z0-9-]+", "match"),
    ],
)
def test_a_pattern_that_looks_again_and_again_is_noticed(pattern: str, method: str) -> None:
    assert next(slow_texts(Use("slow", re.compile(pattern), method)))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", READERS)
def test_a_parser_looks_once_at_each_character(name: str) -> None:
    def look(text: str) -> None:
        with suppress(ValueError):
            READERS[name](text)

    texts = [partial(repeated, *parts) for parts in product(BEGINNINGS, PIECES)]

    assert [text(60) for text in texts if grows(look, text)] == []


def test_every_pattern_of_the_code_is_found() -> None:
    made = {
        module.__name__
        for module in modules()
        for call in calls_of_re(module)
        if not isinstance(call.args[0], ast.Constant)
    }

    assert made == MADE_OF_TEXT
    assert len(uses()) > 120
