"""What the sink writes down of a message."""

import hashlib
import json
from pathlib import Path

from bench.sink.tally import ReceivedMessage, Tally, header


def test_the_log_has_a_line_per_recipient_before_anything_is_answered(tmp_path: Path) -> None:
    tally = Tally(log_path=str(tmp_path / "log"))
    tally.open_log()
    raw = b"Message-ID: <1@x>\r\nx-run-id: seven\r\n\r\n..dot\r\n"
    tally.take(ReceivedMessage("a@x", ["b@y", "c@y"], raw, 3, 9.5, "cut"))
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [row.pop("recipient") for row in rows] == ["b@y", "c@y"]
    assert rows[0] == {
        "message_id": "<1@x>",
        "run": "seven",
        "connection": 3,
        "at": 9.5,
        "answer": "cut",
        "sender": "a@x",
        "body_sha256": hashlib.sha256(b".dot\r\n").hexdigest(),
    }


def test_a_folded_header_is_read_whole() -> None:
    raw = b"Subject: x\r\nMessage-ID:\r\n <long@x>\r\nTo: b\r\n\r\nMessage-ID: <body@x>\r\n"
    assert header(raw, b"message-id") == "<long@x>"


def test_a_header_of_the_body_is_not_one_of_the_message() -> None:
    assert header(b"Subject: x\r\n\r\nMessage-ID: <body@x>\r\n", b"message-id") == ""


def test_the_first_attempt_of_a_phase_is_forgotten_with_the_phase() -> None:
    tally = Tally()
    tally.take(ReceivedMessage("a@x", ["b@y"], b"\r\n\r\n", 1, 2.0, "accept"))
    tally.attempted["b@y"] = 1.0
    tally.reset()
    assert tally.stats()["messages"] == 0
    assert not tally.attempted
