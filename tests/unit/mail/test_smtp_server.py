import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import smtp
from mail.smtp_input import LINE_MAX
from mail.smtp_server import COMMANDS_MAX, ERRORS_MAX
from mail.smtp_server_events import MessageReceived, ServerConfig
from tests.support.submission import ENVELOPE, LOGIN, SECOND, SMUGGLED, Conversation

MESSAGE = b"From: a@a.example\r\n\r\nhello\r\n"


def base64_of(text: bytes) -> bytes:
    return base64.b64encode(text)


def test_a_message_arrives_with_its_envelope() -> None:
    talk = Conversation().log_in()
    assert talk.codes(ENVELOPE + b"DATA\r\n") == ["250 2.0.0", "250 2.0.0", "354"]
    assert talk.codes(MESSAGE + b".\r\nQUIT\r\n") == ["250 2.0.0", "221 2.0.0"]
    event = talk.events[-1]
    assert isinstance(event, MessageReceived)
    assert event.sender is not None
    assert event.sender.address == "a@a.example"
    assert [one.address for one in event.recipients] == ["b@b.example"]
    assert event.content == MESSAGE
    assert talk.session.is_closed


def test_the_extensions_depend_on_tls() -> None:
    secure = Conversation().send(b"EHLO client\r\n").decode()
    plain = Conversation(secure=False).send(b"EHLO client\r\n").decode()
    for both in ("PIPELINING", "SIZE 10000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"):
        assert both in secure
        assert both in plain
    assert "AUTH PLAIN LOGIN" in secure
    assert "STARTTLS" not in secure
    assert "AUTH" not in plain
    assert "STARTTLS" in plain
    assert "REQUIRETLS" not in secure + plain


def test_nothing_but_starttls_works_without_tls() -> None:
    talk = Conversation(secure=False)
    assert talk.codes(b"EHLO client\r\n") == ["250"]
    assert talk.codes(LOGIN) == ["530 5.7.0"]
    assert talk.codes(b"MAIL FROM:<a@a.example>\r\n") == ["530 5.7.0"]
    assert talk.codes(b"STARTTLS\r\n") == ["250 2.0.0"]
    assert talk.codes(b"MAIL FROM:<a@a.example>\r\n") == ["503 5.5.1"]  # EHLO is forgotten


def test_commands_that_arrive_with_starttls_end_the_session() -> None:
    talk = Conversation(secure=False)
    talk.send(b"EHLO client\r\n")
    assert talk.codes(b"STARTTLS\r\nMAIL FROM:<a@a.example>\r\n") == ["554 5.5.0"]
    assert talk.session.is_closed


@pytest.mark.parametrize(
    "together",
    [
        b"EHLO client\r\nNOOP\r\n", b"HELO client\r\nNOOP\r\n", b"NOOP\r\nNOOP\r\n",
    ],
)  # fmt: skip
def test_commands_before_pipelining_was_offered_end_the_session(together: bytes) -> None:
    talk = Conversation()
    assert talk.codes(together)[-1] == "554 5.5.0"
    assert talk.session.is_closed


def test_a_message_that_arrives_with_data_ends_the_session() -> None:
    talk = Conversation().log_in()
    assert talk.codes(ENVELOPE + b"DATA\r\n" + MESSAGE + b".\r\n")[-1] == "554 5.5.0"
    assert talk.session.is_closed
    assert talk.messages == []


@pytest.mark.parametrize("end", SMUGGLED)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_only_crlf_dot_crlf_ends_a_message(end: bytes, in_pieces: bool) -> None:
    talk = Conversation().log_in()
    talk.send(ENVELOPE + b"DATA\r\n")
    data = MESSAGE[:-2] + end + SECOND + b"\r\n.\r\n"
    pieces = [data[at : at + 1] for at in range(len(data))] if in_pieces else [data]
    for piece in pieces:
        talk.send(piece)
    [content] = talk.messages
    assert b"smuggled" in content
    assert talk.send(b"NOOP\r\n").startswith(b"250")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"EHLO\r\n", "501 5.5.4"),
        (b"EHLO bad name\r\n", "501 5.5.4"),
        (b"NOOP\n", "500 5.5.2"),
        (b"NO\rOP\r\n", "500 5.5.2"),
        (b"NOOP \0\r\n", "500 5.5.2"),
        (b"NOOP \xff\r\n", "500 5.5.2"),
        (b"XYZZY\r\n", "500 5.5.1"),
        (b"EXPN list\r\n", "500 5.5.1"),
        (b"BDAT 5 LAST\r\n", "500 5.5.1"),
        (b"NOOP " + b"x" * 3_000 + b"\r\n", "500 5.5.2"),
        (b"NOOP " + b"x" * (LINE_MAX + 1) + b"\r\n", "500 5.5.2"),
        (b"RCPT TO:<b@b.example>\r\n", "503 5.5.1"),
        (b"DATA\r\n", "503 5.5.1"),
        (b"AUTH PLAIN\r\n", "503 5.5.1"),
        (b"STARTTLS\r\n", "503 5.5.1"),
        (b"MAIL FROM:a@a.example\r\n", "501 5.5.4"),
        (b"MAIL TO:<a@a.example>\r\n", "501 5.5.4"),
        (b"MAIL FROM:<nobody>\r\n", "501 5.1.7"),
        (b"MAIL FROM:<@relay.example:a@a.example>\r\n", "501 5.1.7"),
        (b"MAIL FROM:<a@a.example> SIZE=10001\r\n", "552 5.3.4"),
        (b"MAIL FROM:<a@a.example> SIZE=x\r\n", "501 5.5.4"),
        (b"MAIL FROM:<a@a.example> BODY=BINARYMIME\r\n", "501 5.5.4"),
        (b"MAIL FROM:<a@a.example> RET=HDRS\r\n", "555 5.5.4"),
        (b"MAIL FROM:<a@a.example> REQUIRETLS\r\n", "550 5.7.30"),
        ("MAIL FROM:<ü@a.example>\r\n".encode(), "553 5.6.7"),
    ],
)
def test_a_command_is_refused_with_its_code(line: bytes, code: str) -> None:
    assert Conversation().log_in().codes(line) == [code]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"RCPT TO:<>\r\n", "501 5.1.3"),
        (b"RCPT TO:<b@b.example> NOTIFY=NEVER\r\n", "555 5.5.4"),
        (b"RCPT TO:<a@b.example\r\n", "501 5.5.4"),
        (b"RCPT TO:<a b@b.example>\r\n", "501 5.1.3"),
        (b'RCPT TO:<"a> b"@b.example>\r\n', "250 2.0.0"),
        (b"RCPT TO:<a%b.example@c.example>\r\n", "250 2.0.0"),
        (b"rcpt to: <b@b.example>\r\n", "250 2.0.0"),
        (b"DATA\r\n", "554 5.5.1"),
        (b"MAIL FROM:<c@a.example>\r\n", "503 5.5.1"),
        (LOGIN, "503 5.5.1"),
    ],
)
def test_a_command_in_a_transaction(line: bytes, code: str) -> None:
    talk = Conversation().log_in()
    talk.send(b"MAIL FROM:<> SIZE=100 BODY=8BITMIME AUTH=<>\r\n")
    assert talk.codes(line) == [code]


def test_a_sixth_recipient_is_for_another_message() -> None:
    talk = Conversation().log_in()
    talk.send(b"MAIL FROM:<a@a.example>\r\n")
    codes = [talk.codes(b"RCPT TO:<b%d@b.example>\r\n" % number)[0] for number in range(6)]
    assert codes == ["250 2.0.0"] * 5 + ["452 4.5.3"]


def test_many_recipients_beyond_the_limit_leave_the_message_of_the_first() -> None:
    talk = Conversation(config=ServerConfig("mail.example", 10_000, recipients_max=150)).log_in()
    talk.send(b"MAIL FROM:<a@a.example>\r\n")
    commands = b"".join(b"RCPT TO:<b%d@b.example>\r\n" % number for number in range(300))
    assert talk.codes(commands) == ["250 2.0.0"] * 150 + ["452 4.5.3"] * 150
    assert talk.codes(b"DATA\r\n") == ["354"]
    assert talk.codes(MESSAGE + b".\r\n") == ["250 2.0.0"]
    event = talk.events[-1]
    assert isinstance(event, MessageReceived)
    assert len(event.recipients) == 150


def test_recipients_beyond_the_limit_are_not_refused_for_ever() -> None:
    talk = Conversation().log_in()
    talk.send(b"MAIL FROM:<a@a.example>\r\n")
    codes = [talk.codes(b"RCPT TO:<b%d@b.example>\r\n" % number)[0] for number in range(11)]
    assert codes[-2:] == ["452 4.5.3", "421 4.7.0"]
    assert talk.session.is_closed


@pytest.mark.parametrize("segment", [100, 1_000_000])
def test_a_message_that_is_too_large_is_refused_at_its_end(segment: int) -> None:
    talk = Conversation().log_in()
    talk.send(ENVELOPE + b"DATA\r\n")
    data = b"x" * 20_000 + b"\r\n.\r\n"
    replies = b"".join(talk.send(data[at : at + segment]) for at in range(0, len(data), segment))
    assert replies.startswith(b"552 5.3.4")
    assert talk.messages == []
    assert talk.codes(b"MAIL FROM:<a@a.example>\r\n") == ["250 2.0.0"]


def test_a_message_without_end_is_cut_off() -> None:
    talk = Conversation().log_in()
    talk.send(ENVELOPE + b"DATA\r\n")
    for _ in range(60):
        talk.send(b"x" * 1_000)
        assert talk.session.unread_octets <= 11_000
    assert talk.session.is_closed


def test_a_line_without_end_is_cut_off() -> None:
    talk = Conversation()
    for _ in range(90):
        talk.send(b"x" * 1_000)
        assert talk.session.unread_octets <= LINE_MAX + 1_000
    assert talk.session.is_closed


def test_login_and_a_wrong_password() -> None:
    talk = Conversation()
    talk.send(b"EHLO client\r\n")
    assert talk.send(b"AUTH LOGIN\r\n") == b"334 VXNlcm5hbWU6\r\n"
    assert talk.send(base64_of(b"anna") + b"\r\n") == b"334 UGFzc3dvcmQ6\r\n"
    assert talk.codes(base64_of(b"wrong") + b"\r\n") == ["535 5.7.8"]
    assert talk.codes(b"MAIL FROM:<a@a.example>\r\n") == ["530 5.7.0"]
    assert talk.send(b"AUTH PLAIN\r\n") == b"334 \r\n"
    assert talk.codes(b"*\r\n") == ["501 5.7.0"]
    assert talk.codes(b"AUTH LOGIN " + base64_of(b"anna") + b"\r\n") == ["334"]
    assert talk.codes(base64_of(b"secret") + b"\r\n") == ["250 2.0.0"]
    assert talk.codes(LOGIN) == ["503 5.5.1"]


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (b"!", "501 5.5.2"), (b"=", "501 5.5.2"), (base64_of(b"\xff\xfe"), "501 5.5.2"),
        (base64_of(b"anna\0secret"), "501 5.5.2"), (base64_of(b"\0\0secret"), "501 5.5.2"),
        (base64_of(b"admin\0anna\0secret"), "535 5.7.8"),
        (base64_of(b"\0anna\0" + b"x" * 300), "501 5.5.2"),
    ],
)  # fmt: skip
def test_invalid_credentials_are_refused(response: bytes, code: str) -> None:
    talk = Conversation()
    talk.send(b"EHLO client\r\n")
    assert talk.codes(b"AUTH PLAIN " + response + b"\r\n") == [code]
    assert not talk.session.authenticated


def test_the_third_failed_login_ends_the_session() -> None:
    talk = Conversation(password="other")
    talk.send(b"EHLO client\r\n")
    codes = [code for _ in range(3) for code in talk.codes(LOGIN)]
    assert codes == ["535 5.7.8"] * 3 + ["421 4.7.0"]
    assert talk.session.is_closed


@pytest.mark.parametrize(
    ("line", "most"), [(b"XYZZY\r\n", ERRORS_MAX), (b"NOOP\r\n", COMMANDS_MAX)]
)
def test_commands_without_a_message_are_bounded(line: bytes, most: int) -> None:
    talk = Conversation().log_in()
    sent = 0
    while not talk.session.is_closed:
        talk.send(line)
        sent += 1
    assert sent <= most


def test_commands_of_http_end_the_session() -> None:
    talk = Conversation()
    assert talk.codes(b"POST / HTTP/1.1\r\n") == ["421 5.5.0"]
    assert talk.session.is_closed


def test_dots_at_the_start_of_lines_are_unstuffed() -> None:
    body = b"From: a@a.example\r\n\r\n.\r\n..\r\n.a\r\n"
    talk = Conversation().log_in()
    talk.send(ENVELOPE + b"DATA\r\n")
    talk.send(smtp.dot_stuff(body) + b".\r\n")
    assert talk.messages == [body]


@given(st.lists(st.binary(max_size=40), max_size=10), st.data())
def test_a_message_does_not_depend_on_its_segments(lines: list[bytes], data: st.DataObject) -> None:
    body = smtp.normalize_line_endings(b"\r\n".join([b"From: a@a.example", b"", *lines]))
    wire = smtp.dot_stuff(body) + b".\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=5)))
    talk = Conversation().log_in()
    talk.send(ENVELOPE + b"DATA\r\n")
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        talk.send(wire[start:end])
    assert talk.messages == [body]


MX = ServerConfig("mx.example.net", octets_max=10_000, recipients_max=5, login=False)


def stranger() -> Conversation:
    """At a server that takes mail for its own addresses."""
    return Conversation(secure=False, config=MX)


def test_a_stranger_needs_neither_a_login_nor_tls_at_an_mx() -> None:
    talk = stranger()
    offered = talk.send(b"EHLO client\r\n")
    assert b"AUTH" not in offered
    assert b"STARTTLS" in offered
    assert talk.codes(LOGIN) == ["503 5.5.1"]
    assert talk.codes(ENVELOPE + b"DATA\r\n") == ["250 2.0.0", "250 2.0.0", "354"]
    assert talk.codes(MESSAGE + b".\r\n") == ["250 2.0.0"]
    assert talk.codes(b"STARTTLS\r\n") == ["250 2.0.0"]
    assert b"AUTH" not in talk.send(b"EHLO client\r\n")
    assert talk.codes(ENVELOPE + b"DATA\r\n") == ["250 2.0.0", "250 2.0.0", "354"]
    assert talk.codes(MESSAGE + b".\r\nQUIT\r\n") == ["250 2.0.0", "221 2.0.0"]
    assert talk.messages == [MESSAGE, MESSAGE]


@pytest.mark.parametrize("smuggled", SMUGGLED)
def test_nothing_is_smuggled_to_an_mx(smuggled: bytes) -> None:
    talk = stranger()
    talk.send(b"EHLO client\r\n")
    talk.send(ENVELOPE + b"DATA\r\n")
    talk.send(MESSAGE + smuggled + SECOND)
    talk.send(b"\r\n.\r\n")
    assert len(talk.messages) == 1
    assert b"smuggled" in talk.messages[0]


def test_an_mx_refuses_commands_that_were_sent_together_without_permission() -> None:
    for together in (b"HELO client\r\nMAIL FROM:<>\r\n", b"EHLO client\r\nMAIL FROM:<>\r\n"):
        talk = stranger()
        assert talk.codes(together) == ["554 5.5.0"]
        assert talk.session.is_closed
    talk = stranger()
    talk.send(b"EHLO client\r\n")
    assert talk.codes(ENVELOPE + b"DATA\r\n" + MESSAGE + b".\r\n")[-1] == "554 5.5.0"
    assert talk.messages == []


GROUPS = (b"EHLO client\r\n", ENVELOPE + b"DATA\r\n", MESSAGE + b"..\r\n.\r\n", b"QUIT\r\n")


def test_a_session_means_the_same_wherever_it_is_cut() -> None:
    """Into two segments; and if it ends there, there is no message before its end."""
    whole = stranger()
    replies = [whole.send(group) for group in GROUPS]
    assert whole.messages == [MESSAGE + b".\r\n"]
    for at, group in enumerate(GROUPS):
        for cut in range(len(group)):
            talk = stranger()
            got = [talk.send(one) for one in GROUPS[:at]]
            got.append(talk.send(group[:cut]))
            assert len(talk.messages) == (at > 2)
            got[-1] += talk.send(group[cut:])
            got += [talk.send(one) for one in GROUPS[at + 1 :]]
            assert got == replies
            assert talk.messages == whole.messages
