"""Replies about the sender, a program or the content do not suppress the recipient."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import bounce

LINES = Path(__file__).with_name("refusals.txt").read_text("utf-8").splitlines()
GONE = [line.removeprefix("gone ") for line in LINES if line.startswith("gone ")]
ELSE = [line.removeprefix("else ") for line in LINES if line.startswith("else ")]


@pytest.mark.parametrize("refusal", ELSE)
def test_replies_about_others_than_the_recipient_never_suppress(refusal: str) -> None:
    for enhanced in ("", "5.7.1"):
        for command in ("", "RCPT", "DATA"):
            verdict = bounce.classify(550, enhanced, refusal, command=command)
            assert not verdict.suppress_after, verdict.name


@pytest.mark.parametrize("refusal", GONE)
def test_other_wordings_for_a_missing_recipient_suppress(refusal: str) -> None:
    assert bounce.classify(550, "", refusal, command="RCPT").name == "invalid_recipient"
    assert bounce.classify(550, "5.1.1", refusal).name == "invalid_recipient"


@given(st.sampled_from(GONE), st.sampled_from(["CONNECT", "GREETING", "EHLO", "MAIL"]))
def test_a_refusal_before_rcpt_does_not_concern_the_recipient(refusal: str, command: str) -> None:
    for enhanced in ("", "5.1.1"):
        assert not bounce.classify(550, enhanced, refusal, command=command).suppress_after


def test_a_host_that_accepts_no_mail_can_reject_at_once() -> None:
    assert bounce.classify(521, "5.3.2", "no mail", command="GREETING").name == "bad_domain"
    assert bounce.classify(556, "", "no mail", command="MAIL").name == "invalid_sender"
