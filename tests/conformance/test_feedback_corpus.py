"""Complaints that mailbox providers sent to others name our message, if it is what they return.

The reports are real, of Sisimai's collection; only the field that our messages carry is added to
the message in them. Reads ../shared/data/mail beside the repository. Skipped if it is absent; with
CI=1 that is a failure.
"""

import os
import re
from typing import Any, cast
from uuid import UUID

import pytest

from bench.shield_corpus import rows
from mail import verp
from services.delivery.domain.returned_mail import read
from tests.conformance.test_bounce_corpus import FILE

KEY, MESSAGE = b"k" * 16, UUID(int=1)
TOKEN = verp.token_of(verp.return_path(MESSAGE, "b.sender.example", key=KEY).address)
# The head of the part with the returned message, up to the empty line.
RETURNED = re.compile(
    r"^(content-type:[ \t]*(?:message/rfc822|text/rfc822-headers)[^\n]*\n"
    r"(?:[^\r\n][^\n]*\n)*\r?\n)",
    re.IGNORECASE | re.MULTILINE,
)


def reports() -> list[dict[str, Any]]:
    found = [cast("dict[str, Any]", row) for row in rows(FILE)]
    return [row for row in found if row["label"] == "arf"]


def test_complaints_of_real_providers_name_our_message() -> None:
    if not FILE.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{FILE} is absent: CI needs the reports")
        pytest.skip(f"left out: {FILE} is absent")
    found = reports()
    assert len(found) >= 7
    for row in found:
        raw, places = RETURNED.subn(rf"\1X-Report-Token: {TOKEN}\n", row["raw"], count=1)
        assert places == 1, row["id"]
        mail = read(raw.encode("latin-1"))
        if "feedback-type: auth-failure" in row["raw"].lower():  # of DMARC: nobody complained
            assert (mail.kind, mail.tokens) == ("auth-failure", ()), row["id"]
            continue
        assert mail.kind == "complaint", row["id"]
        assert TOKEN in mail.tokens, row["id"]
        assert verp.parse_token(TOKEN, keys=(KEY,)) == MESSAGE
