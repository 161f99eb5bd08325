"""Mail servers that misbehave at every step, and what delivery makes of it.

One service meets all of them at once; each row of the table is a test of its own.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contracts.delivery.v1 import events_pb2 as events
from services.delivery.domain.attempt_result import END_OF_DATA as EOD
from tests.support.delivery import House
from tests.support.smtp_peer import EXTENSIONS, Act, Acts, SmtpPeer, self_signed
from tests.support.stack import FreshDatabase

DELIVERED, PERMANENT = events.ATTEMPT_OUTCOME_DELIVERED, events.ATTEMPT_OUTCOME_PERMANENT
TEMPORARY, AMBIGUOUS = events.ATTEMPT_OUTCOME_TEMPORARY, events.ATTEMPT_OUTCOME_AMBIGUOUS
SHORT = {
    f"smtp_{step}_timeout_s": 0.5
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
HANG, CLOSE, RESET = Act(say=b"", hang=True), Act(say=b"", close=True), Act(say=b"", reset=True)
GARBAGE = b"SSH-2.0-OpenSSH_9.2"
PLAIN = [one for one in EXTENSIONS if one != "PIPELINING"]


@dataclass(frozen=True, slots=True)
class Case:
    """acts: what the server does. The rest: what is run_story about it, and what it took."""

    acts: Acts
    outcome: "events.AttemptOutcome.ValueType"
    step: str
    code: int = 0
    bounce_class: str = ""
    taken: int = 0
    extensions: Sequence[str] = EXTENSIONS
    tls: bool = False
    secured: bool = False
    recipient: str = "friend"
    text: str = ""  # somewhere in the reply's text


def delivered(acts: Acts, **more: object) -> Case:
    return Case(acts, DELIVERED, EOD, 250, taken=1, **more)  # type: ignore[arg-type]


CASES = {
    # greeting
    "greets_with_554": Case({"greeting": b"554 No service"}, TEMPORARY, "greeting", 554, "*"),
    "greets_with_421": Case({"greeting": b"421 Busy"}, TEMPORARY, "greeting", 421, "*"),
    "greets_with_garbage": Case({"greeting": GARBAGE}, TEMPORARY, "greeting"),
    "never_greets": Case({"greeting": HANG}, TEMPORARY, "greeting", text="no answer"),
    "closes_before_the_greeting": Case({"greeting": CLOSE}, TEMPORARY, "greeting"),
    "resets_before_the_greeting": Case({"greeting": RESET}, TEMPORARY, "greeting"),
    "greets_at_length": delivered({"greeting": b"220-Welcome\r\n220-to\r\n220 peer ESMTP"}),
    "greets_without_end": Case({"greeting": b"220-" + b"x" * 100_000}, TEMPORARY, "greeting"),
    # EHLO
    "knows_only_helo": delivered({"ehlo": b"502 What?"}),
    "refuses_ehlo_and_helo": Case(
        {"ehlo": b"550 Go away", "helo": b"550 Go away"}, TEMPORARY, "ehlo", 550, "*"
    ),
    "closes_at_ehlo": Case({"ehlo": CLOSE}, TEMPORARY, "ehlo"),
    "hangs_at_ehlo": Case({"ehlo": HANG}, TEMPORARY, "ehlo"),
    "says_421_to_ehlo": Case({"ehlo": b"421 Later"}, TEMPORARY, "ehlo", 421, "*"),
    "offers_nothing": delivered({}, extensions=()),
    "offers_nonsense": delivered({}, extensions=("SIZE lots", "X-\xff".encode().hex(), "AUTH")),
    # TLS
    "has_an_expired_certificate": delivered({}, tls=True, secured=True),
    "closes_in_the_handshake": delivered({"starttls": Act(b"220 Go", close=True)}, tls=True),
    "cannot_tls_after_all": delivered({"starttls": b"454 TLS not available"}, tls=True),
    "speaks_garbage_as_tls": delivered(
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
    "says_garbage_at_mail": Case({"mail": GARBAGE}, TEMPORARY, "mail", text="out of step"),
    # RCPT
    "knows_no_such_user": Case(
        {"rcpt": b"550 5.1.1 No such user"}, PERMANENT, "rcpt", 550, "invalid_recipient"
    ),
    "knows_no_such_user_unpipelined": Case(
        {"rcpt": b"550 5.1.1 No such user"}, PERMANENT, "rcpt", 550, "invalid_recipient",
        extensions=PLAIN,
    ),
    "greylists": Case(
        {"rcpt": b"450 4.7.1 Greylisted, come in 5 minutes"}, TEMPORARY, "rcpt", 450, "greylisted"
    ),
    "has_too_many_recipients": Case(
        {"rcpt": b"552 5.5.3 Too many recipients"}, TEMPORARY, "rcpt", 552, "*"
    ),
    "closes_with_421_at_rcpt": Case(
        {"rcpt": Act(b"421 Bye", close=True)}, TEMPORARY, "rcpt", 421, "*"
    ),
    "closes_at_rcpt": Case({"rcpt": CLOSE}, TEMPORARY, "rcpt"),
    "hangs_at_rcpt": Case({"rcpt": HANG}, TEMPORARY, "rcpt"),
    "wants_the_data_of_nobody": Case(
        {"rcpt": b"550 5.1.1 Nobody", "data": b"354 Go on"}, PERMANENT, "rcpt", 550, "*"
    ),
    "curses_in_control_characters": Case(
        {"rcpt": b"550 5.1.1 \x1b[31mNo\x00 such\x07 user"}, PERMANENT, "rcpt", 550,
        "invalid_recipient", text="[31mNo such user",
    ),
    "talks_without_end": Case(
        {"rcpt": b"550 5.1.1 " + b"no such user " * 3000}, PERMANENT, "rcpt", 550, "*"
    ),
    # DATA
    "defers_the_data": Case({"data": b"451 4.3.0 Later"}, TEMPORARY, "data", 451, "*"),
    "refuses_the_data": Case({"data": b"554 5.7.1 No"}, PERMANENT, "data", 554, "*"),
    "takes_data_for_done": Case({"data": b"250 Ok"}, TEMPORARY, "data", 250),
    "closes_at_data": Case({"data": CLOSE}, TEMPORARY, "data"),
    "hangs_at_data": Case({"data": HANG}, TEMPORARY, "data"),
    # before the dot
    "refuses_in_the_middle_of_the_body": Case(
        {"body": Act(b"552 5.3.4 Too big", close=True)}, PERMANENT, "data", 552, "message_too_large"
    ),
    "shuts_down_in_the_middle_of_the_body": Case(
        {"body": Act(b"421 4.3.2 Shutting down", close=True)}, TEMPORARY, "data", 421, "*"
    ),
    # the dot
    "defers_after_the_dot": Case({EOD: b"451 4.3.0 Later"}, TEMPORARY, EOD, 451, "*", 1),
    "refuses_after_the_dot": Case({EOD: b"554 5.7.1 Spam"}, PERMANENT, EOD, 554, "*", 1),
    "shuts_down_after_the_dot": Case({EOD: b"421 4.3.2 Bye"}, TEMPORARY, EOD, 421, "*", 1),
    "closes_after_the_dot": Case({EOD: CLOSE}, AMBIGUOUS, EOD, taken=1),
    "resets_after_the_dot": Case({EOD: RESET}, AMBIGUOUS, EOD, taken=1),
    "hangs_after_the_dot": Case({EOD: HANG}, AMBIGUOUS, EOD, taken=1, text="no answer"),
    "says_garbage_after_the_dot": Case({EOD: GARBAGE}, AMBIGUOUS, EOD, taken=1),
    "says_354_after_the_dot": Case({EOD: b"354 More"}, AMBIGUOUS, EOD, 354, taken=1),
    "breaks_off_its_answer": Case({EOD: Act(b"250-Ok", close=True)}, AMBIGUOUS, EOD, taken=1),
    "answers_slowly": delivered({EOD: Act(wait_s=0.3)}),
    "answers_in_two_lines": delivered({EOD: b"250-2.0.0 Ok\r\n250 2.0.0 queued"}),
    # what it offers
    "does_not_pipeline": delivered({}, extensions=PLAIN),
    "takes_small_mail_only": Case(
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
    "takes_any_size": delivered({}, extensions=("PIPELINING", "SIZE 0")),
    "knows_no_utf8": Case(
        {}, PERMANENT, "", 0, "bad_configuration", extensions=("PIPELINING",), recipient="zoë",
        text="SMTPUTF8",
    ),
    "knows_utf8": delivered({}, recipient="zoë"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Met:
    """What was run_story, and the server's own memory."""

    answer: events.DeliveryAttempted
    peer: SmtpPeer
    raw: bytes = field(repr=False)


@pytest.fixture(scope="module")
def met(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Met]:
    """All of them, by name."""
    folder: Path = tmp_path_factory.mktemp("delivery")
    house = House(bootstrap_servers, topic_prefix, database, folder)
    return asyncio.run(meet_all(house))


async def meet_all(house: House) -> dict[str, Met]:
    context = self_signed()
    async with AsyncExitStack() as stack:
        peers = {
            name: await stack.enter_async_context(
                SmtpPeer(case.acts, extensions=case.extensions, tls=context if case.tls else None)
            )
            for name, case in CASES.items()
        }
        running = await stack.enter_async_context(house.running(**SHORT))
        batch = []
        for name, case in CASES.items():
            recipient = f"{case.recipient}@{name.replace('_', '-')}.example"
            batch += await house.assigned(recipient, at=peers[name].address)
        await running.topics.publish(batch)
        answers = {one.message_id: one for one in await running.topics.answers(batch)}
        return {
            name: Met(
                answers[one.message_id],
                peers[name],
                b"".join(bytes(connection.raw) for connection in peers[name].connections),
            )
            for name, one in zip(CASES, batch, strict=True)
        }


@pytest.mark.parametrize("name", CASES)
def test_a_server_that(name: str, met: dict[str, Met]) -> None:
    case, answer = CASES[name], met[name].answer
    said = answer.reply
    assert (answer.outcome, said.step, said.code) == (case.outcome, case.step, case.code)
    assert answer.ambiguous == (case.outcome == AMBIGUOUS)
    assert len(met[name].peer.messages) == case.taken
    assert answer.bounce_class == case.bounce_class or (
        case.bounce_class == "*" and answer.bounce_class
    )
    assert answer.connected
    assert bool(said.tls) == case.secured
    assert case.text in said.text
    assert len(said.text) <= 1024
    assert said.text.isprintable()


def test_mail_goes_out_in_one_write_where_the_server_pipelines(met: dict[str, Met]) -> None:
    commands = [one.split(" ")[0] for one in met["answers_slowly"].peer.commands]
    assert commands[:4] == ["EHLO", "MAIL", "RCPT", "DATA"]


def test_the_size_is_declared_where_it_is_offered(met: dict[str, Met]) -> None:
    [mail] = [one for one in met["answers_slowly"].peer.commands if one.startswith("MAIL")]
    [taken] = met["answers_slowly"].peer.messages
    assert f"SIZE={len(taken.message)}" in mail
    [mail] = [one for one in met["offers_nothing"].peer.commands if one.startswith("MAIL")]
    assert "SIZE" not in mail


def test_mail_that_is_too_large_is_not_even_offered(met: dict[str, Met]) -> None:
    assert not any("MAIL" in one for one in met["takes_small_mail_only"].peer.commands)


def test_nothing_is_said_in_the_clear_before_tls_but_ehlo(met: dict[str, Met]) -> None:
    peer = met["has_an_expired_certificate"].peer
    assert [one.split(" ")[0] for one in peer.commands][:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]


def test_how_a_connection_was_secured_is_told(met: dict[str, Met]) -> None:
    reply = met["has_an_expired_certificate"].answer.reply
    assert reply.tls == "TLSv1.3"
    assert reply.tls_cipher.startswith("TLS_")
    assert len(reply.tls_certificate) == 64
    assert not reply.tls_verified


def test_broken_tls_costs_a_second_connection_and_no_mail(met: dict[str, Met]) -> None:
    assert len(met["closes_in_the_handshake"].peer.connections) == 2


def test_no_line_end_but_crlf_and_no_long_line_goes_over_the_wire(met: dict[str, Met]) -> None:
    for name, case in CASES.items():
        if case.taken:
            raw = met[name].raw
            assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
            assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_a_server_that_wants_the_data_of_nobody_gets_nothing(met: dict[str, Met]) -> None:
    assert met["wants_the_data_of_nobody"].raw.endswith(b"DATA\r\n")
