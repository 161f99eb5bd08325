"""Servers that misbehave at every step, and the results of delivery.

One service sends to all of them at once; each row of the table is a test.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contracts.delivery.v1 import events_pb2 as events
from services.delivery.domain.attempt_result import END_OF_DATA as EOD
from tests.support.delivery import Harness
from tests.support.smtp_peer import EXTENSIONS, Act, Acts, SmtpPeer, self_signed
from tests.support.stack import FreshDatabase

DELIVERED, PERMANENT = events.ATTEMPT_OUTCOME_DELIVERED, events.ATTEMPT_OUTCOME_PERMANENT
TEMPORARY, AMBIGUOUS = events.ATTEMPT_OUTCOME_TEMPORARY, events.ATTEMPT_OUTCOME_AMBIGUOUS
SHORT = {
    f"smtp_{step}_timeout_s": 5.0  # of a server that hangs; the others may be slow
    for step in (
        "connect",
        "greeting",
        "ehlo",
        "tls",
        "mail",
        "rcpt",
        "data_init",
        "data_xfer",
        "data_done",
    )
}
HANG, CLOSE, RESET = (
    Act(reply=b"", hang=True),
    Act(reply=b"", close=True),
    Act(reply=b"", reset=True),
)
GARBAGE = b"SSH-2.0-OpenSSH_9.2"
PLAIN = [one for one in EXTENSIONS if one != "PIPELINING"]


@dataclass(frozen=True, slots=True)
class Case:
    """acts: the behavior of the server. The rest: the expected result and its messages."""

    acts: Acts
    outcome: "events.AttemptOutcome.ValueType"
    step: str
    code: int = 0
    bounce_class: str = ""
    received: int = 0
    extensions: Sequence[str] = EXTENSIONS
    tls: bool = False
    secured: bool = False
    recipient: str = "friend"
    text: str = ""  # contained in the text of the reply


def delivered(acts: Acts, **more: object) -> Case:
    return Case(acts, DELIVERED, EOD, 250, received=1, **more)  # type: ignore[arg-type]


CASES = {
    # greeting
    "greets_with_554": Case({"greeting": b"554 No service"}, TEMPORARY, "greeting", 554, "*"),
    "greets_with_421": Case({"greeting": b"421 Busy"}, TEMPORARY, "greeting", 421, "*"),
    "greets_with_garbage": Case({"greeting": GARBAGE}, TEMPORARY, "greeting"),
    "never_greets": Case({"greeting": HANG}, TEMPORARY, "greeting", text="no reply"),
    "closes_before_the_greeting": Case({"greeting": CLOSE}, TEMPORARY, "greeting"),
    "resets_before_the_greeting": Case({"greeting": RESET}, TEMPORARY, "greeting"),
    "greets_with_three_lines": delivered({"greeting": b"220-Welcome\r\n220-to\r\n220 peer ESMTP"}),
    "greets_endlessly": Case({"greeting": b"220-" + b"x" * 100_000}, TEMPORARY, "greeting"),
    # EHLO
    "supports_only_helo": delivered({"ehlo": b"502 What?"}),
    "refuses_ehlo_and_helo": Case(
        {"ehlo": b"550 Go away", "helo": b"550 Go away"}, TEMPORARY, "ehlo", 550, "*"
    ),
    "closes_at_ehlo": Case({"ehlo": CLOSE}, TEMPORARY, "ehlo"),
    "hangs_at_ehlo": Case({"ehlo": HANG}, TEMPORARY, "ehlo"),
    "replies_421_to_ehlo": Case({"ehlo": b"421 Later"}, TEMPORARY, "ehlo", 421, "*"),
    "offers_nothing": delivered({}, extensions=()),
    "offers_invalid_ones": delivered({}, extensions=("SIZE lots", "X-\xff".encode().hex(), "AUTH")),
    # TLS
    "has_an_expired_certificate": delivered({}, tls=True, secured=True),
    "closes_in_the_handshake": delivered({"starttls": Act(b"220 Go", close=True)}, tls=True),
    "replies_454_to_starttls": delivered({"starttls": b"454 TLS not available"}, tls=True),
    "sends_garbage_as_tls": delivered(
        {"starttls": Act(b"220 Go\r\nNOT TLS AT ALL, SORRY\r\n" * 5, close=True)}, tls=True
    ),
    "hangs_in_the_handshake": delivered({"starttls": Act(b"220 Go", hang=True)}, tls=True),
    "injects_a_reply_before_tls": delivered(
        {"starttls": b"220 Go\r\n550 5.7.1 injected\r\n"}, tls=True, secured=True
    ),
    # MAIL
    "refuses_the_sender": Case({"mail": b"550 5.7.1 Not you"}, PERMANENT, "mail", 550, "*"),
    "defers_the_sender": Case({"mail": b"451 4.3.0 Later"}, TEMPORARY, "mail", 451, "*"),
    "closes_with_421_at_mail": Case(
        {"mail": Act(b"421 Bye", close=True)}, TEMPORARY, "mail", 421, "*"
    ),
    "closes_at_mail": Case({"mail": CLOSE}, TEMPORARY, "mail"),
    "hangs_at_mail": Case({"mail": HANG}, TEMPORARY, "mail"),
    "sends_garbage_at_mail": Case({"mail": GARBAGE}, TEMPORARY, "mail", text="bad sequence"),
    # RCPT
    "refuses_the_recipient": Case(
        {"rcpt": b"550 5.1.1 No such user"}, PERMANENT, "rcpt", 550, "invalid_recipient"
    ),
    "refuses_the_recipient_without_pipelining": Case(
        {"rcpt": b"550 5.1.1 No such user"}, PERMANENT, "rcpt", 550, "invalid_recipient",
        extensions=PLAIN,
    ),
    "greylists": Case(
        {"rcpt": b"450 4.7.1 Greylisted, come in 5 minutes"}, TEMPORARY, "rcpt", 450, "greylisted"
    ),
    "replies_552_too_many_recipients": Case(
        {"rcpt": b"552 5.5.3 Too many recipients"}, TEMPORARY, "rcpt", 552, "*"
    ),
    "closes_with_421_at_rcpt": Case(
        {"rcpt": Act(b"421 Bye", close=True)}, TEMPORARY, "rcpt", 421, "*"
    ),
    "closes_at_rcpt": Case({"rcpt": CLOSE}, TEMPORARY, "rcpt"),
    "hangs_at_rcpt": Case({"rcpt": HANG}, TEMPORARY, "rcpt"),
    "accepts_data_without_a_recipient": Case(
        {"rcpt": b"550 5.1.1 Nobody", "data": b"354 Go on"}, PERMANENT, "rcpt", 550, "*"
    ),
    "replies_with_control_characters": Case(
        {"rcpt": b"550 5.1.1 \x1b[31mNo\x00 such\x07 user"}, PERMANENT, "rcpt", 550,
        "invalid_recipient", text="[31mNo such user",
    ),
    "sends_an_endless_reply": Case(
        {"rcpt": b"550 5.1.1 " + b"no such user " * 3000}, PERMANENT, "rcpt", 550, "*"
    ),
    # DATA
    "defers_the_data": Case({"data": b"451 4.3.0 Later"}, TEMPORARY, "data", 451, "*"),
    "refuses_the_data": Case({"data": b"554 5.7.1 No"}, PERMANENT, "data", 554, "*"),
    "accepts_data_with_250": Case({"data": b"250 Ok"}, TEMPORARY, "data", 250),
    "closes_at_data": Case({"data": CLOSE}, TEMPORARY, "data"),
    "hangs_at_data": Case({"data": HANG}, TEMPORARY, "data"),
    # before end of data
    "refuses_in_the_middle_of_the_body": Case(
        {"body": Act(b"552 5.3.4 Too big", close=True)}, PERMANENT, "data", 552, "message_too_large"
    ),
    "shuts_down_in_the_middle_of_the_body": Case(
        {"body": Act(b"421 4.3.2 Shutting down", close=True)}, TEMPORARY, "data", 421, "*"
    ),
    # end of data
    "defers_at_end_of_data": Case({EOD: b"451 4.3.0 Later"}, TEMPORARY, EOD, 451, "*", 1),
    "refuses_at_end_of_data": Case({EOD: b"554 5.7.1 Spam"}, PERMANENT, EOD, 554, "*", 1),
    "shuts_down_at_end_of_data": Case({EOD: b"421 4.3.2 Bye"}, TEMPORARY, EOD, 421, "*", 1),
    "closes_at_end_of_data": Case({EOD: CLOSE}, AMBIGUOUS, EOD, received=1),
    "resets_at_end_of_data": Case({EOD: RESET}, AMBIGUOUS, EOD, received=1),
    "hangs_at_end_of_data": Case({EOD: HANG}, AMBIGUOUS, EOD, received=1, text="no reply"),
    "sends_garbage_at_end_of_data": Case({EOD: GARBAGE}, AMBIGUOUS, EOD, received=1),
    "sends_354_at_end_of_data": Case({EOD: b"354 More"}, AMBIGUOUS, EOD, 354, received=1),
    "breaks_off_its_reply": Case({EOD: Act(b"250-Ok", close=True)}, AMBIGUOUS, EOD, received=1),
    "replies_slowly": delivered({EOD: Act(wait_s=0.3)}),
    "replies_in_two_lines": delivered({EOD: b"250-2.0.0 Ok\r\n250 2.0.0 queued"}),
    # extensions
    "does_not_pipeline": delivered({}, extensions=PLAIN),
    "accepts_only_small_mail": Case(
        {}, PERMANENT, "", 0, "message_too_large", extensions=("PIPELINING", "SIZE 1000")
    ),
    "offers_dsn_and_refuses_it_at_mail": delivered(
        {"mail": [b"555 5.5.4 Unsupported option: RET", Act()]}
    ),
    "offers_dsn_and_refuses_it_at_rcpt": delivered(
        {"rcpt": [b"501 5.5.4 Bad parameter", Act()]}, extensions=PLAIN
    ),
    "refuses_the_syntax_of_an_address": Case(
        {"rcpt": b"501 5.1.3 Bad recipient address syntax"}, PERMANENT, "rcpt", 501, "*"
    ),
    "accepts_any_size": delivered({}, extensions=("PIPELINING", "SIZE 0")),
    "does_not_offer_smtputf8": Case(
        {}, PERMANENT, "", 0, "bad_configuration", extensions=("PIPELINING",), recipient="zoë",
        text="SMTPUTF8",
    ),
    "offers_smtputf8": delivered({}, recipient="zoë"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The published result, and what the server received."""

    result: events.DeliveryAttempted
    peer: SmtpPeer
    raw: bytes = field(repr=False)


@pytest.fixture(scope="module")
def case_results(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, CaseResult]:
    """The results of all cases, by name."""
    folder: Path = tmp_path_factory.mktemp("delivery")
    harness = Harness(bootstrap_servers, topic_prefix, database, folder)
    return asyncio.run(run_all(harness))


async def run_all(harness: Harness) -> dict[str, CaseResult]:
    context = self_signed()
    async with AsyncExitStack() as stack:
        peers = {
            name: await stack.enter_async_context(
                SmtpPeer(case.acts, extensions=case.extensions, tls=context if case.tls else None)
            )
            for name, case in CASES.items()
        }
        running = await stack.enter_async_context(harness.running(**SHORT))
        batch = []
        for name, case in CASES.items():
            recipient = f"{case.recipient}@{name.replace('_', '-')}.example"
            batch += await harness.assign(recipient, at=peers[name].address)
        await running.topics.publish(batch)
        results = {one.message_id: one for one in await running.topics.results(batch)}
        return {
            name: CaseResult(
                results[one.message_id],
                peers[name],
                b"".join(bytes(connection.raw) for connection in peers[name].connections),
            )
            for name, one in zip(CASES, batch, strict=True)
        }


@pytest.mark.parametrize("name", CASES)
def test_a_server_that(name: str, case_results: dict[str, CaseResult]) -> None:
    case, result = CASES[name], case_results[name].result
    reply = result.reply
    assert (result.outcome, reply.step, reply.code) == (case.outcome, case.step, case.code)
    assert result.ambiguous == (case.outcome == AMBIGUOUS)
    assert len(case_results[name].peer.messages) == case.received
    assert result.bounce_class == case.bounce_class or (
        case.bounce_class == "*" and result.bounce_class
    )
    assert result.connected
    assert bool(reply.tls) == case.secured
    assert case.text in reply.text
    assert len(reply.text) <= 1024
    assert reply.text.isprintable()


def test_commands_are_pipelined_if_the_server_offers_it(
    case_results: dict[str, CaseResult],
) -> None:
    commands = [one.split(" ")[0] for one in case_results["replies_slowly"].peer.commands]
    assert commands[:4] == ["EHLO", "MAIL", "RCPT", "DATA"]


def test_the_size_is_declared_if_the_server_offers_it(case_results: dict[str, CaseResult]) -> None:
    [mail] = [one for one in case_results["replies_slowly"].peer.commands if one.startswith("MAIL")]
    [received] = case_results["replies_slowly"].peer.messages
    assert f"SIZE={len(received.message)}" in mail
    [mail] = [one for one in case_results["offers_nothing"].peer.commands if one.startswith("MAIL")]
    assert "SIZE" not in mail


def test_no_mail_command_is_sent_for_a_message_that_is_too_large(
    case_results: dict[str, CaseResult],
) -> None:
    assert not any("MAIL" in one for one in case_results["accepts_only_small_mail"].peer.commands)


def test_only_ehlo_and_starttls_are_sent_before_tls(case_results: dict[str, CaseResult]) -> None:
    peer = case_results["has_an_expired_certificate"].peer
    assert [one.split(" ")[0] for one in peer.commands][:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]


def test_the_tls_of_a_connection_is_recorded(case_results: dict[str, CaseResult]) -> None:
    reply = case_results["has_an_expired_certificate"].result.reply
    assert reply.tls == "TLSv1.3"
    assert reply.tls_cipher.startswith("TLS_")
    assert len(reply.tls_certificate) == 64
    assert not reply.tls_verified


def test_after_broken_tls_the_message_is_sent_over_a_second_connection(
    case_results: dict[str, CaseResult],
) -> None:
    assert len(case_results["closes_in_the_handshake"].peer.connections) == 2


def test_every_line_ends_in_crlf_and_is_at_most_998_octets_long(
    case_results: dict[str, CaseResult],
) -> None:
    for name, case in CASES.items():
        if case.received:
            raw = case_results[name].raw
            assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
            assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_a_server_that_accepts_data_without_a_recipient_gets_no_body(
    case_results: dict[str, CaseResult],
) -> None:
    assert case_results["accepts_data_without_a_recipient"].raw.endswith(b"DATA\r\n")
