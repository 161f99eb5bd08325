"""The log and the counts of the sink."""

import hashlib
import json
from pathlib import Path

from bench.sink.tally import ReceivedMessage, Tally, header


def test_the_log_has_a_line_per_recipient_before_the_reply(tmp_path: Path) -> None:
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
        "reply": "cut",
        "sender": "a@x",
        "body_sha256": hashlib.sha256(b".dot\r\n").hexdigest(),
    }


def test_a_folded_header_is_unfolded() -> None:
    raw = b"Subject: x\r\nMessage-ID:\r\n <long@x>\r\nTo: b\r\n\r\nMessage-ID: <body@x>\r\n"
    assert header(raw, b"message-id") == "<long@x>"


def test_a_header_in_the_body_is_ignored() -> None:
    assert header(b"Subject: x\r\n\r\nMessage-ID: <body@x>\r\n", b"message-id") == ""


def test_reset_clears_the_first_attempts() -> None:
    tally = Tally()
    tally.take(ReceivedMessage("a@x", ["b@y"], b"\r\n\r\n", 1, 2.0, "accept"))
    tally.attempted["b@y"] = 1.0
    tally.reset()
    assert tally.stats()["messages"] == 0
    assert not tally.attempted
