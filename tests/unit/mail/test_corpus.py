"""Real bounces and reports, each with the result of another classifier.

The corpus is stored outside the repository; without it these tests are skipped.
"""

import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from mail import inbound_report
from mail.bounce import BounceAction
from mail.inbound_report import FailedRecipient, InboundReport, ReportKind
from tests.support.sisimai import is_gone_by_its_text

CORPUS = Path(__file__).parents[4] / "shared/data/mail/bounces_sisimai.jsonl.zst"
pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the bounce corpus is not here")


@lru_cache(maxsize=1)
def corpus() -> list[tuple[dict[str, Any], InboundReport]]:
    with CORPUS.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        rows = [json.loads(line) for line in io.TextIOWrapper(stream, encoding="utf-8")]
    return [(row, inbound_report.parse_report(row["raw"].encode("latin-1"))) for row in rows]


def suppresses(found: InboundReport, index: int) -> bool:
    if index >= len(found.failures):
        return False
    failure = found.failures[index]
    return failure.action == "failed" and failure.bounce_class.action is BounceAction.SUPPRESS


def test_suppression_is_precise_and_mostly_complete() -> None:
    pairs = [
        (suppresses(found, index), expected["hard"] or is_gone_by_its_text(row["id"]))
        for row, found in corpus()
        for index, expected in enumerate(row["expect"] or ())
    ]
    right = sum(ours and theirs for ours, theirs in pairs)
    assert len(pairs) > 250
    assert right / sum(ours for ours, _ in pairs) >= 0.99
    assert right / sum(theirs for _, theirs in pairs) >= 0.90


def test_every_machine_readable_part_gives_recipient_status_and_diagnostic() -> None:
    incomplete = [
        row["id"]
        for row, found in corpus()
        if "\nfinal-recipient:" in row["raw"].lower()
        and "\nstatus:" in row["raw"].lower()
        and not (found.failures and all(map(is_complete, found.failures)))
    ]
    assert incomplete == []


def is_complete(failure: FailedRecipient) -> bool:
    return bool(failure.recipient and failure.status and failure.diagnostic)


def test_complaints_are_complaints() -> None:
    kinds = {found.kind for row, found in corpus() if row["label"] == "arf"}
    assert kinds == {ReportKind.COMPLAINT}


def test_automatic_replies_are_not_bounces() -> None:
    kinds = {
        found.kind
        for row, found in corpus()
        if any(expected["reason"] == "vacation" for expected in row["expect"] or ())
    }
    assert kinds == {ReportKind.AUTO_REPLY}
