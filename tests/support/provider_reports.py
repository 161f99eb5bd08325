"""Complaints that mailbox providers sent to others, of Sisimai's collection."""

import os
import re
from typing import Any, cast

import pytest

from bench.shield_corpus import rows
from tests.conformance.test_bounce_corpus import FILE

# The head of the part with the returned message, up to the empty line.
RETURNED = re.compile(
    r"^(content-type:[ \t]*(?:message/rfc822|text/rfc822-headers)[^\n]*\n"
    r"(?:[^\r\n][^\n]*\n)*\r?\n)",
    re.IGNORECASE | re.MULTILINE,
)


def provider_reports() -> list[dict[str, Any]]:
    """In ../shared/data/mail beside the repository. Skips the test if it is absent; with CI=1 that
    is a failure."""
    if not FILE.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{FILE} is absent: CI needs the reports")
        pytest.skip(f"left out: {FILE} is absent")
    found = [cast("dict[str, Any]", row) for row in rows(FILE)]
    return [row for row in found if row["label"] == "arf"]


def returning(report: dict[str, Any], token: str) -> bytes:
    """The report as if the message in it had our token."""
    raw, places = RETURNED.subn(rf"\1X-Report-Token: {token}\n", report["raw"], count=1)
    assert places == 1, report["id"]
    return raw.encode("latin-1")
