"""Words that speak of somebody else: the sender, a program, the content. Nobody is gone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import bounce

LINES = Path(__file__).with_name("refusals.txt").read_text("utf-8").splitlines()
GONE = [line.removeprefix("gone ") for line in LINES if line.startswith("gone ")]
ELSE = [line.removeprefix("else ") for line in LINES if line.startswith("else ")]


@pytest.mark.parametrize("said", ELSE)
def test_what_is_said_of_somebody_else_never_suppresses(said: str) -> None:
    for enhanced in ("", "5.7.1"):
        for command in ("", "RCPT", "DATA"):
            verdict = bounce.classify(550, enhanced, said, command=command)
            assert not verdict.suppress_after, verdict.name


@pytest.mark.parametrize("said", GONE)
def test_a_recipient_who_is_gone_is_suppressed_in_other_words_too(said: str) -> None:
    assert bounce.classify(550, "", said, command="RCPT").name == "invalid_recipient"
    assert bounce.classify(550, "5.1.1", said).name == "invalid_recipient"


@given(st.sampled_from(GONE), st.sampled_from(["CONNECT", "GREETING", "EHLO", "MAIL"]))
def test_before_the_recipient_is_named_nothing_is_said_of_it(said: str, command: str) -> None:
    for enhanced in ("", "5.1.1"):
        assert not bounce.classify(550, enhanced, said, command=command).suppress_after


def test_a_host_that_takes_no_mail_may_say_so_at_once() -> None:
    assert bounce.classify(521, "5.3.2", "no mail", command="GREETING").name == "bad_domain"
    assert bounce.classify(556, "", "no mail", command="MAIL").name == "invalid_sender"
