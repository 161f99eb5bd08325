"""Bounces that people collected suppress whom Sisimai calls gone: precision at least 99 %,
recall at least 92 %.

Reads ../shared/data/mail beside the repository. Skipped if it is absent; with CI=1 that is a
failure.
"""

import os
from collections import Counter
from typing import Any, cast

import pytest

from bench.shield_corpus import rows
from mail import inbound_report
from tests.conformance.test_shield_corpus import FOLDER
from tests.support.sisimai import is_gone_by_its_text

FILE = FOLDER / "bounces_sisimai.jsonl.zst"
PRECISION_MIN, RECALL_MIN = 0.99, 0.92
GONE = {"userunknown", "hostunknown", "hasmoved", "notaccept"}
SUPPRESSING = {"invalid_recipient", "bad_domain"}


def is_gone(row: dict[str, Any]) -> bool:
    return is_gone_by_its_text(row["id"]) or row["expect"][0]["reason"] in GONE


def is_suppressed(row: dict[str, Any]) -> bool:
    report = inbound_report.parse_report(b"Return-Path: <>\n" + row["raw"].encode("latin-1"))
    if report.kind is not inbound_report.ReportKind.BOUNCE:
        return False
    failed = [one for one in report.failures if one.action == "failed"] or [*report.failures]
    return bool(failed) and failed[0].bounce_class.name in SUPPRESSING


def test_bounces_suppress_who_is_gone_and_hardly_anybody_else() -> None:
    if not FILE.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{FILE} is absent: CI needs the bounces")
        pytest.skip(f"left out: {FILE} is absent")
    found = [cast("dict[str, Any]", row) for row in rows(FILE)]
    measured = [row for row in found if row["label"] == "bounce" and row["expect"]]
    tally = Counter((is_gone(row), is_suppressed(row)) for row in measured)
    assert tally[True, True] / (tally[True, True] + tally[False, True]) >= PRECISION_MIN, tally
    assert tally[True, True] / (tally[True, True] + tally[True, False]) >= RECALL_MIN, tally
