"""Replies that nobody looked at while the rules were written decide as a person says.

Precision: of the addresses that replies suppress, the share that is gone. Recall: of the gone ones,
the share that is suppressed. A half of the replies is open: rules may be changed by their mistakes.
"""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from mail import bounce, smtp_reply

PRECISION_MIN, RECALL_MIN = 0.99, 0.92
HALF_MIN, GONE_MIN = 180, 50
GONE = {"invalid_recipient", "bad_domain"}
LINES = Path(__file__).with_name("published.txt").read_text("utf-8").splitlines()
REPLIES = [line for line in LINES if not line.startswith("#")]


def is_held_out(line: str) -> bool:
    return sha256(line.encode()).digest()[0] % 2 == 0


HALVES = {
    "open": [line for line in REPLIES if not is_held_out(line)],
    "held out": [line for line in REPLIES if is_held_out(line)],
}


def suppresses(line: str) -> bool:
    _, command, refusal = line.split(" ", 2)
    text = "\n".join(one[4:] for one in refusal.split("|"))
    read = smtp_reply.reply_from_text(int(refusal[:3]), text)
    return bounce.classify(read.code, read.enhanced, read.text, command=command).name in GONE


def check(tally: Counter[tuple[bool, bool]]) -> None:
    """By (gone, suppressed)."""
    right = tally[True, True]
    assert right / (right + tally[False, True]) >= PRECISION_MIN, tally
    assert right / (right + tally[True, False]) >= RECALL_MIN, tally


@pytest.mark.parametrize("half", HALVES)
def test_replies_suppress_who_is_gone_and_hardly_anybody_else(half: str) -> None:
    lines = HALVES[half]
    tally = Counter((line.startswith("gone "), suppresses(line)) for line in lines)
    assert len(lines) >= HALF_MIN
    assert tally[True, True] + tally[True, False] >= GONE_MIN
    check(tally)
