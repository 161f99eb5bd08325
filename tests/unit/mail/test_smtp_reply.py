from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import smtp_reply
from mail.smtp_reply import MAX_OCTETS, Reply, ReplyError, ReplyParser

GMAIL = (
    b"550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n"
    b"550-5.1.1 double-checking the recipient's email address for typos or\r\n"
    b"550 5.1.1 unnecessary spaces. gsmtp\r\n"
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"250 OK\r\n", Reply(250, "", "OK")),
        (b"250\r\n", Reply(250, "", "")),
        (b"250 2.0.0 queued as 1\r\n", Reply(250, "2.0.0", "queued as 1")),
        (b"550 5.7.1  a\tb \x07c\n", Reply(550, "5.7.1", "a b c")),
        (b"450-first\r\n450 second", Reply(450, "", "first second")),
        (b"550 Message rejected (#5.1.1)\r\n", Reply(550, "5.1.1", "Message rejected (#5.1.1)")),
        (b"550 see 4.2.2 docs\r\n", Reply(550, "", "see 4.2.2 docs")),
        (b"550 at 5.1.1.9\r\n", Reply(550, "", "at 5.1.1.9")),
        (b"550 5.1.1. User unknown.\r\n", Reply(550, "5.1.1", "User unknown.")),
        (b"550 5.1.1.\r\n", Reply(550, "5.1.1", "")),
        (b"\r\n250 ok\r\n", Reply(250, "", "ok")),
        (b"hello\r\n250 ok\r\n", Reply(250, "", "ok")),
        (b"250-a\r\n\r\n250 b\r\n", Reply(250, "", "a b")),
        (b"250-checking\r\n550 5.1.1 no such user\r\n", Reply(550, "5.1.1", "no such user")),
        (b"550-5.1.1 no\r\n250-what\r\n550 5.7.1 no\r\n", Reply(550, "5.7.1", "no")),
        ("550 größer\r\n".encode("latin-1"), Reply(550, "", "gr\ufffd\ufffder")),
    ],
)
def test_a_reply_is_code_enhanced_code_and_text(raw: bytes, expected: Reply) -> None:
    assert smtp_reply.parse_reply(raw) == expected


def test_the_enhanced_code_is_removed_from_every_line() -> None:
    parsed = smtp_reply.parse_reply(GMAIL)
    assert (parsed.code, parsed.enhanced) == (550, "5.1.1")
    assert "5.1.1" not in parsed.text
    assert parsed.text.endswith("unnecessary spaces. gsmtp")


def test_a_line_without_a_code_is_part_of_the_reply() -> None:
    assert smtp_reply.parse_reply(b"550-no\r\nthanks\r\n550 bye\r\n").text == "no thanks bye"


@pytest.mark.parametrize(
    "raw", [b"", b"hello\r\n", b"99 x\r\n", b"600 x\r\n", b"250-more\r\n", b"\xff"]
)
def test_invalid_replies_are_rejected(raw: bytes) -> None:
    with pytest.raises(ReplyError):
        smtp_reply.parse_reply(raw)


def test_replies_do_not_depend_on_segmentation() -> None:
    raw = b"250-a\r\n250 b\r\n550 5.1.1 c\r\n"
    parser, found = ReplyParser(), []
    for octet in raw:
        found += parser.feed(bytes([octet]))
    assert found == [Reply(250, "", "a b"), Reply(550, "5.1.1", "c")]
    assert not parser.pending


def test_an_endless_line_does_not_grow_the_memory() -> None:
    parser = ReplyParser()
    for _ in range(1000):
        assert parser.feed(b"x" * 1000) == []
    assert len(parser._rest) <= smtp_reply.MAX_LINE


def test_an_endless_reply_is_a_problem() -> None:
    parser = ReplyParser()
    assert parser.feed(b"250-again\r\n" * 1000) == []
    assert "lines" in parser.problem


@pytest.mark.parametrize("flood", [b"\r\n", b"no code\r\n", b"250-again\r\n"])
def test_a_reply_before_a_flood_counts(flood: bytes) -> None:
    parser = ReplyParser()
    assert parser.feed(b"250 ok\r\n" + flood * 1000) == [Reply(250, "", "ok")]
    assert parser.problem
    assert parser.feed(b"550 no\r\n") == []


@given(
    st.lists(
        st.sampled_from(
            [b"250-a\r\n", b"250 b\n", b"550 5.1.1 c\r\n", b"\r\n", b"text\r\n", b"421\r\n"]
        ),
        max_size=8,
    ),
    st.data(),
)
def test_any_segmentation_gives_the_same_replies(lines: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)))
    bounds = [0, *cuts, len(raw)]
    parser, found = ReplyParser(), []
    for start, end in pairwise(bounds):
        found += parser.feed(raw[start:end])

    assert found == ReplyParser().feed(raw)
    assert len(found) == sum(line[3:4] != b"-" for line in lines if line[:1].isdigit())


def test_the_stored_text_is_bounded() -> None:
    assert len(smtp_reply.parse_reply(b"550 " + b"y" * 4000 + b"\r\n").text) == smtp_reply.MAX_TEXT


def test_a_reply_from_separate_code_and_text_is_equal() -> None:
    assert smtp_reply.reply_from_text(450, "4.2.1 busy\nlater") == Reply(450, "4.2.1", "busy later")
    assert str(smtp_reply.reply_from_text(450, "4.2.1 busy")) == "450 4.2.1 busy"


@given(st.binary(max_size=300))
def test_any_bytes_give_clean_bounded_replies_or_an_error(raw: bytes) -> None:
    for one in ReplyParser().feed(raw):
        assert 200 <= one.code < 600
        assert one.text.isprintable() or "\ufffd" in one.text
        assert "\r" not in one.text
        assert "\n" not in one.text


@pytest.mark.parametrize("piece", [b"2" * 65536, b"220-" + b"x" * 65000, b"x" * 6000 + b"\r\n"])
def test_a_reply_without_an_end_is_bounded_in_octets(piece: bytes) -> None:
    parser, heard = ReplyParser(), 0
    while not parser.problem:
        parser.feed(piece)
        heard += len(piece)
    assert heard <= MAX_OCTETS + len(piece)


def test_many_consecutive_replies_are_not_an_endless_one() -> None:
    parser, line = ReplyParser(), b"250 " + b"x" * 500 + b"\r\n"
    for _ in range(3 * MAX_OCTETS // len(line)):
        assert len(parser.feed(line)) == 1
    assert not parser.problem


def test_a_reply_that_is_sent_is_one_line_of_bounded_ascii() -> None:
    assert smtp_reply.encode_reply("250 2.0.0 Ok") == b"250 2.0.0 Ok\r\n"
    assert smtp_reply.encode_reply("550 a\r\n250  \u00e9") == b"550 a 250 ?\r\n"
    assert len(smtp_reply.encode_reply("550 " + "x" * 2_000)) <= 512
