"""Patterns and parsers take linear time for any text. These are the only tests that measure time:
CPU time of this process, and only of operations that take long."""

import ast
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import product

import pytest

from tests.hostile import READERS
from tests.hostile.patterns import PatternUse, attacks, calls_of_re, modules, repeated, uses

CHARS = 2_000
QUICK_S = 0.005  # some characters per microsecond
GROWTH_MAX = 8.0  # of four times the text: between linear, 4, and quadratic, 16
TRIES, ROUNDS = 3, 3
# Patterns with bounded input, and the check that bounds it.
BOUNDED = {
    "mail.address._PLAIN.fullmatch": 254,  # parse checks the length first
    "mail.address._NAMED.fullmatch": 254,
    "services.ingest.domain.pointers._AT.match": 401,  # fault_of truncates the message of msgspec
}
# Compiled at each call, with an address or a key inside.
MADE_OF_TEXT = {"kernel.redaction", "mail.bounce_text", "mail.dnsbl"}
BEGINNINGS = ("", "a@", "<", '"', "=?a?q?", "https://", "<a href='", "5.1.1 ", "X-A: ", "a; b=")
PIECES = (
    "a", "1.", "a.", "a-", " ", "\t", '"', "\\", "<", ">", "@", "a@", "=", "=3D", "%00", ";",
    "; a=", "\n", "\n ", "\r\n", "(", ")", "=?a?q?", "a,", "://", "/", "\u00e9", "{", "[",
)  # fmt: skip


def seconds(apply: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    apply(text)
    return time.process_time() - began


def is_superlinear(apply: Callable[[str], object], text_of: Callable[[int], str]) -> bool:
    """True if the time grows faster than the text. Short times are not measured, slow results are
    measured again, because other programs evict the CPU caches."""
    if seconds(apply, text_of(2 * CHARS)) < QUICK_S:
        return False
    text, longer = text_of(CHARS), text_of(4 * CHARS)
    return all(
        least(apply, longer) > max(QUICK_S, GROWTH_MAX * least(apply, text)) for _ in range(ROUNDS)
    )


def least(apply: Callable[[str], object], text: str) -> float:
    return min(seconds(apply, text) for _ in range(TRIES))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", uses())
def test_patterns_take_linear_time(name: str) -> None:
    use = uses()[name]
    if name in BOUNDED:
        times = (least(use.apply, text(BOUNDED[name])) for text in attacks(use.pattern))
        assert max(times) < QUICK_S
    else:
        assert next(slow_texts(use), None) is None


def slow_texts(use: PatternUse) -> Iterator[str]:
    return (text(60) for text in attacks(use.pattern) if is_superlinear(use.apply, text))


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s{5,}\.", "search"),
        (r"[^@]+@(?:[A-Za-z0-9-]+\.)+(?=\S*[A-Za-z])[A-Za-z0-9-]+", "match"),
    ],
)
def test_a_superlinear_pattern_is_detected(pattern: str, method: str) -> None:
    assert next(slow_texts(PatternUse("slow", re.compile(pattern), method)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", READERS)
def test_parsers_take_linear_time(name: str) -> None:
    def apply(text: str) -> None:
        with suppress(ValueError):
            READERS[name](text)

    texts = [partial(repeated, *parts) for parts in product(BEGINNINGS, PIECES)]

    assert [text(60) for text in texts if is_superlinear(apply, text)] == []


def test_every_pattern_of_the_code_is_found() -> None:
    made = {
        module.__name__
        for module in modules()
        for call in calls_of_re(module)
        if not isinstance(call.args[0], ast.Constant)
    }

    assert made == MADE_OF_TEXT
    assert len(uses()) > 120
