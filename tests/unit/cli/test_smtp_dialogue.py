"""What a stranger's mail server says to `obm doctor` is bounded, in whatever pieces it comes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.smtp_dialogue import REPLY_MAX, SmtpDialogue, connected, reply_to_recipient
from kernel.host_challenge import SMTP, HostChallenges, new_challenge
from services.delivery.domain.return_path_challenge import (
    challenge_address,
    challenge_in,
    is_reply_with,
    reply_with,
)

LOOPBACK = "127.0.0.1"
CHALLENGE = new_challenge()
RESPONSES = HostChallenges(["k" * 32, "o" * 32], SMTP).responses_to(CHALLENGE)
OURS = [
    b"220 mx.sender.example ESMTP\r\n",
    b"250-mx.sender.example\r\n250 SIZE\r\n",
    b"250 2.1.0 Ok\r\n",
    f"{reply_with(RESPONSES[0])}\r\n".encode(),
]


@contextmanager
def server(*replies: bytes, stays: bool = False) -> Iterator[int]:
    """The port of a server that says the first to a client, and each other after a line of it.
    stays: it does not close the connection before the client does."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                for index, reply in enumerate(replies):
                    if index:
                        connection.recv(4096)
                    connection.sendall(reply)
                while stays and connection.recv(4096):
                    pass

        thread = Thread(target=talk)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def answer_of(*replies: bytes) -> str:
    with server(*replies) as port:
        return reply_to_recipient(LOOPBACK, port, challenge_address(CHALLENGE, "mx.example"))


def test_ours_is_recognized_by_any_key() -> None:
    assert is_reply_with(answer_of(*OURS), RESPONSES)
    older = f"{reply_with(RESPONSES[1])}\r\n".encode()
    assert is_reply_with(answer_of(*OURS[:3], older), RESPONSES)
    other = HostChallenges(["x" * 32], SMTP).responses_to(CHALLENGE)
    assert not is_reply_with(answer_of(*OURS), other)
    assert not is_reply_with(answer_of(*OURS), HostChallenges(["k" * 32]).responses_to(CHALLENGE))


@pytest.mark.parametrize(
    "reply",
    [
        b"250 2.1.5 Ok\r\n", b"550 5.1.1 User unknown\r\n", b"451 4.7.1 Greylisted\r\n", b"550\r\n",
        f"550 5.1.1 <{challenge_address(CHALLENGE, 'mx.example')}> unknown\r\n".encode(),
    ],
)  # fmt: skip
def test_a_strangers_server_is_not_ours(reply: bytes) -> None:
    assert not is_reply_with(answer_of(*OURS[:3], reply), RESPONSES)


@pytest.mark.parametrize("index", range(3))
def test_a_refusal_before_the_recipient_is_returned(index: int) -> None:
    reply = answer_of(*OURS[:index], b"554-go\r\n554 away\r\n")
    assert reply == "554 go away"


@pytest.mark.parametrize("index", range(4))
def test_a_reply_that_is_cut_at_any_octet_is_none(index: int) -> None:
    for end in range(len(OURS[index]) - 1):
        with pytest.raises(OSError, match=r"closed the connection|reset|Broken pipe"):
            answer_of(*OURS[:index], OURS[index][:end])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_garbage_is_never_ours(replies: list[bytes]) -> None:
    with suppress(OSError):
        assert not is_reply_with(answer_of(b"\n".join(replies)), RESPONSES)


@pytest.mark.parametrize("flood", [b"2" * 3 * REPLY_MAX, b"250-more\r\n" * REPLY_MAX])
def test_a_reply_without_end_is_given_up(flood: bytes) -> None:
    with pytest.raises(ConnectionError, match="its reply is too long"):
        answer_of(flood)


def test_silence_ends() -> None:
    with server(b"", stays=True) as port, connected(LOOPBACK, port, deadline_s=0.05) as dialogue:
        with pytest.raises(TimeoutError):
            dialogue.read_reply()
        with pytest.raises(TimeoutError):
            dialogue.command("NOOP")


def test_the_client_is_named_by_its_address() -> None:
    with server(b"", stays=True) as port, connected(LOOPBACK, port) as dialogue:
        assert dialogue.client_name == "[127.0.0.1]"
    over_ipv6 = Mock(socket.socket, getsockname=lambda: ("2001:db8::1", 40000, 0, 0))
    assert SmtpDialogue(over_ipv6).client_name == "[IPv6:2001:db8::1]"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_only_a_challenge_is_one(local: str) -> None:
    assert challenge_in(local) == ""


def test_a_challenge_in_an_address_is_found_in_any_case() -> None:
    local = challenge_address(CHALLENGE, "mx.example").partition("@")[0]
    assert challenge_in(local) == challenge_in(local.upper()) == CHALLENGE
    assert challenge_in(f"bounce+{CHALLENGE}") == challenge_in(CHALLENGE) == ""
    assert challenge_in(f"{local}0") == ""
