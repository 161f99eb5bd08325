"""Every alternative of every rule matches a reply in the tests, so none is unused."""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest
import re2

from mail import bounce, smtp_reply

RULES = tomllib.loads((files("mail") / "bounce_rules.toml").read_text("utf-8"))["rule"]
REFUSALS = [
    line.split(" ", 3)
    for line in Path(__file__).with_name("replies.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
ALTERNATIVES = [
    (rule["class"], bounce._confined(branch, rule.get("when", "")))
    for rule in RULES
    for pattern in rule["patterns"]
    for branch in bounce._branches(pattern)
]


def lines(name: str) -> list[str]:
    text = Path(__file__).with_name(name).read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def corpus() -> list[str]:
    """All replies of the tests and examples of the rules, as the classifier's input."""
    found = [bounce.text_to_match(int(code), e.strip("-"), text) for _, code, e, text in REFUSALS]
    for rule in RULES:
        for example in rule["patterns"].values():
            match = bounce._EXAMPLE.fullmatch(example)
            assert match is not None
            found.append(bounce.text_to_match(int(match[1] or 0), match[2] or "", match[3]))
    for line in [*lines("receivers.txt"), *lines("providers.txt")]:
        refusal = line.split(" ", 2)[2]
        read = smtp_reply.reply_from_text(
            int(refusal[:3]), "\n".join(line[4:] for line in refusal.split("|"))
        )
        found.append(bounce.text_to_match(read.code, read.enhanced, read.text))
    phrases = [line.partition(" ")[2] for line in lines("refusals.txt")]
    phrases += [
        *python_strings("test_bounce_phrases.py"),
        *python_strings("test_bounce_recipients.py"),
    ]
    return found + [
        bounce.text_to_match(code, "", refusal) for refusal in phrases for code in (550, 450)
    ]


def python_strings(name: str) -> list[str]:
    return [
        line.strip().rstrip(",").strip("\"'") for line in lines(name) if line.startswith("    ")
    ]


CORPUS = corpus()
SET_SIZE = 30  # a set reads a reply once, but a large one does so slowly


def test_every_alternative_matches_a_known_reply() -> None:
    starts = range(0, len(ALTERNATIVES), SET_SIZE)
    unused = [each for i in starts for each in not_found(ALTERNATIVES[i : i + SET_SIZE])]
    assert unused == []


def not_found(alternatives: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    together = re2.Set.SearchSet()
    for _, pattern in alternatives:
        together.Add(pattern)
    together.Compile()
    found = {number for reply in CORPUS for number in together.Match(reply) or ()}
    return [each for number, each in enumerate(alternatives) if number not in found]


@pytest.mark.parametrize(("name", "code", "enhanced", "text"), REFUSALS)
def test_known_replies_have_their_class(name: str, code: str, enhanced: str, text: str) -> None:
    assert bounce.classify(int(code), enhanced.strip("-"), text).name == name
