"""Replies of large providers and filters, and whether they suppress the address."""

from pathlib import Path

import pytest

from mail import bounce, smtp_reply

LINES = Path(__file__).with_name("receivers.txt").read_text("utf-8").splitlines()
CASES = [line.split(" ", 2) for line in LINES if not line.startswith("#")]


@pytest.mark.parametrize(("fate", "command", "refusal"), CASES)
def test_only_missing_recipients_are_suppressed(fate: str, command: str, refusal: str) -> None:
    text = "\n".join(line[4:] for line in refusal.split("|"))
    read = smtp_reply.reply_from_text(int(refusal[:3]), text)
    name = bounce.classify(read.code, read.enhanced, read.text, command=command).name
    assert (name in ("invalid_recipient", "bad_domain")) == (fate == "gone"), name
