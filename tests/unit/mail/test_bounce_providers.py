"""Replies of providers have the class that a person assigned to them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import bounce, smtp_reply

LINES = Path(__file__).with_name("providers.txt").read_text("utf-8").splitlines()
CASES = [line.split(" ", 2) for line in LINES if not line.startswith("#")]
# Of the sender, the message, the protocol, a policy: none says that an address is gone.
OTHER_MATTERS = (
    "5.1.7", "5.1.8", "5.2.2", "5.2.3", "5.2.4", "5.3.3", "5.3.4", "5.3.5", "5.4.2", "5.4.5",
    "5.4.6", "5.5.1", "5.5.2", "5.5.4", "5.6.0", "5.6.11", "5.7.0", "5.7.1", "5.7.26", "5.7.606",
)  # fmt: skip
GONE = (
    "the user you want does not exist",
    "<ann@x.example>: recipient address rejected: user unknown in virtual mailbox table",
    "mailbox not found",
    "no such recipient",
    "the account is disabled",
    "host unknown",
)


@pytest.mark.parametrize(("name", "command", "refusal"), CASES)
def test_a_providers_reply_has_its_class(name: str, command: str, refusal: str) -> None:
    read = smtp_reply.reply_from_text(
        int(refusal[:3]), "\n".join(line[4:] for line in refusal.split("|"))
    )
    assert bounce.classify(read.code, read.enhanced, read.text, command=command).name == name


@given(st.sampled_from(GONE), st.sampled_from(OTHER_MATTERS), st.sampled_from(["RCPT", "DATA", ""]))
def test_text_that_contradicts_the_enhanced_code_does_not_suppress(
    words: str, enhanced: str, command: str
) -> None:
    assert not bounce.classify(550, enhanced, words, command=command).suppress_after


@given(st.sampled_from(GONE), st.sampled_from(["", "5.0.0", "5.1.1", "5.1.0", "5.2.1", "5.3.0"]))
def test_text_that_agrees_with_the_enhanced_code_suppresses(words: str, enhanced: str) -> None:
    assert bounce.classify(550, enhanced, words, command="RCPT").suppress_after


@given(st.sampled_from(GONE), st.integers(400, 499), st.sampled_from(["", "4.2.1", "5.1.1"]))
def test_a_temporary_reply_does_not_suppress(words: str, code: int, enhanced: str) -> None:
    assert not bounce.classify(code, enhanced, words, command="RCPT").suppress_after


def test_servers_known_to_send_a_wrong_code_are_trusted() -> None:
    for refusal in ("No such user!", "sorry, no mailbox here by that name"):
        assert bounce.classify(550, "5.7.1", refusal, command="RCPT").name == "invalid_recipient"


@pytest.mark.parametrize(
    "refusal",
    [
        "5.7.1 [CS01] Message rejected due to local policy. Please visit https://x.example",
        "5.7.507 Access denied, rejected by recipient",
        "5.1.1 Mail Refused - Address <ann@x.example> Recipient Unknown",
        "5.7.510 Access denied, x.example does not accept email over IPv6",
        "Rejected by header-based Anti-Spoofing policy: ann@x.example",
    ],
)
def test_a_lasting_refusal_fails_the_message(refusal: str) -> None:
    read = smtp_reply.reply_from_text(550, refusal)
    verdict = bounce.classify(read.code, read.enhanced, read.text, command="RCPT")
    assert verdict.action in (bounce.BounceAction.GIVE_UP, bounce.BounceAction.SUPPRESS), (
        verdict.name
    )
