"""A reply decides the same about its recipient when it comes back in a report, whoever wrote that.

Precision: of the addresses that reports suppress, the share that is gone. Recall: of the gone ones,
the share that is suppressed.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from mail import bounce, inbound_report
from tests.support.bounce_shapes import SHAPES, Refusal

PRECISION_MIN, RECALL_MIN = 0.99, 0.92
GONE = {"invalid_recipient", "bad_domain"}


class Case(NamedTuple):
    """gone: whether a person said that this reply is about a missing address or domain."""

    gone: bool
    command: str
    lines: tuple[str, ...]


def cases(name: str) -> list[Case]:
    text = Path(__file__).with_name(name).read_text("utf-8")
    split = [line.split(" ", 2) for line in text.splitlines() if not line.startswith("#")]
    return [
        Case(fate in {*GONE, "gone"}, command, (*reply.split("|"),))
        for fate, command, reply in split
    ]


CASES = [*cases("providers.txt"), *cases("receivers.txt")]


def suppresses(shape: str, case: Case) -> bool:
    mail = SHAPES[shape](Refusal("ann@x.example", case.command, case.lines))
    found = inbound_report.parse_report(f"Return-Path: <>\n{mail}".encode())
    return any(one.bounce_class.name in GONE for one in found.failures)


def tally(shape: str) -> Counter[tuple[bool, bool]]:
    """By (gone, suppressed)."""
    return Counter((case.gone, suppresses(shape, case)) for case in CASES)


@pytest.mark.parametrize("shape", SHAPES)
def test_reports_suppress_whom_the_reply_would(shape: str) -> None:
    found = tally(shape)
    suppressed = found[True, True] + found[False, True]
    assert found[True, True] / suppressed >= PRECISION_MIN, found
    assert found[True, True] / (found[True, True] + found[True, False]) >= RECALL_MIN, found


def test_the_replies_are_many_enough_to_measure() -> None:
    assert len(CASES) > 450
    assert sum(one.gone for one in CASES) >= 100
    assert set(bounce.default_classifier()._classes) >= GONE
