"""Messages of which the server keeps the begin."""

from hypothesis import given
from hypothesis import strategies as st

from mail import smtp
from mail.smtp_server_events import MessageReceived, ServerConfig
from tests.support.submission import ENVELOPE, SECOND, Conversation

KEPT = 16
CUTTING = ServerConfig("mx.example.net", octets_max=10_000, kept_max=KEPT, login=False)


def hand_in_segments(lines: list[bytes], cuts: list[int]) -> Conversation:
    """A message of these octets, cut into segments."""
    wire = smtp.dot_stuff(smtp.normalize_line_endings(b"\r\n".join([*lines, b""]))) + b".\r\n"
    talk = Conversation(secure=False, config=CUTTING)
    talk.send(b"EHLO client\r\n")
    talk.send(ENVELOPE + b"DATA\r\n")
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        talk.send(wire[start:end])
        assert talk.session.unread_octets <= KEPT + 2 * len(wire[start:end]) + 8
    return talk


@given(st.lists(st.text("\r\n.a", max_size=12).map(str.encode), max_size=9), st.data())
def test_the_begin_of_a_large_message_ends_with_it_however_it_is_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    wire = smtp.dot_stuff(smtp.normalize_line_endings(b"\r\n".join([*lines, b""])))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire) + 3), max_size=9)))
    talk = hand_in_segments(lines, cuts)
    assert talk.messages == [smtp.dot_unstuff(wire[:KEPT])]
    assert talk.codes(b"QUIT\r\n") == ["221 2.0.0"]
    [event] = [one for one in talk.events if isinstance(one, MessageReceived)]
    assert event.is_cut == (len(wire) > KEPT)


def test_what_was_discarded_ends_no_message() -> None:
    """The head ends with a line end and a dot, the rest begins with a line end."""
    talk = Conversation(secure=False, config=CUTTING)
    talk.send(b"EHLO client\r\n")
    talk.send(ENVELOPE + b"DATA\r\n")
    head = b"x" * (KEPT - 3) + b"\r\n."
    for data in (head + b"discarded" * 9, b"xx\r\n", SECOND + b"\r\n"):
        assert talk.send(data) == b""
    assert talk.codes(b".\r\n") == ["250 2.0.0"]
    assert len(talk.messages) == 1
