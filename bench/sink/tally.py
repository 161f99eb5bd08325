"""Messages that the sink has received: counts, times, a sample, and optionally a log."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

SAMPLE_MAX = 200


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as received. raw: as on the wire, with dot-stuffing."""

    sender: str
    recipients: Sequence[str]
    raw: bytes
    connection: int
    at: float
    reply: str


@dataclass(slots=True)
class Tally:
    log_path: str = ""
    run_header: str = "X-Run-Id"
    sample_every: int = 0  # sample every n-th message; 0 samples none
    copies: dict[tuple[str, str], int] = field(default_factory=dict)
    attempted: dict[str, float] = field(default_factory=dict)  # time of the first RCPT by recipient
    sample: list[bytes] = field(default_factory=list)
    messages: int = 0
    deliveries: int = 0
    octets: int = 0
    connections: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    log: int = -1

    def open_log(self) -> None:
        if self.log_path:
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
            self.log = os.open(self.log_path, flags, 0o644)

    def reset(self) -> None:
        """Reset the counts; the log continues, because it belongs to the whole run."""
        self.copies.clear()
        self.attempted.clear()
        self.sample.clear()
        self.messages = self.deliveries = self.octets = self.connections = 0
        self.first_at = self.last_at = 0.0

    def take(self, message: ReceivedMessage) -> None:
        message_id = header(message.raw, b"message-id")
        for recipient in message.recipients:
            key = (recipient, message_id)
            self.copies[key] = self.copies.get(key, 0) + 1
        if self.sample_every and self.messages % self.sample_every == 0:
            self._add_sample(message.raw)
        self.messages += 1
        self.deliveries += len(message.recipients)
        self.octets += len(message.raw)
        self.first_at = self.first_at or message.at
        self.last_at = message.at
        if self.log >= 0:
            os.write(self.log, self.lines(message, message_id))

    def _add_sample(self, raw: bytes) -> None:
        if len(self.sample) < SAMPLE_MAX:
            self.sample.append(unstuff(raw))

    def lines(self, message: ReceivedMessage, message_id: str) -> bytes:
        """One JSON line per recipient; a message is logged before the reply."""
        body = message.raw.partition(b"\r\n\r\n")[2]
        rest = {
            "message_id": message_id,
            "run": header(message.raw, self.run_header.lower().encode()),
            "connection": message.connection,
            "at": message.at,
            "reply": message.reply,
            "sender": message.sender,
            "body_sha256": hashlib.sha256(unstuff(body)).hexdigest(),
        }
        rows = ({"recipient": recipient} | rest for recipient in message.recipients)
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def stats(self) -> dict[str, float | int]:
        return {
            "messages": self.messages,
            "deliveries": self.deliveries,
            "unique": len(self.copies),
            "duplicates": self.deliveries - len(self.copies),
            "recipients": len({recipient for recipient, _ in self.copies}),
            "octets": self.octets,
            "connections": self.connections,
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


def header(raw: bytes, name: bytes) -> str:
    """The value of one unfolded header, "" when there is none. `name` in lower case."""
    end = raw.find(b"\r\n\r\n")
    head = b"\r\n" + (raw[:end] if end >= 0 else raw)
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    stop = head.find(b"\r\n", start)
    while stop >= 0 and head[stop + 2 : stop + 3] in (b" ", b"\t"):
        stop = head.find(b"\r\n", stop + 2)
    value = head[start:] if stop < 0 else head[start:stop]
    return b" ".join(value.split()).decode("utf-8", "replace")


def unstuff(raw: bytes) -> bytes:
    """Undo dot-stuffing (RFC 5321 §4.5.2)."""
    lines = raw.replace(b"\r\n..", b"\r\n.")
    return lines[1:] if lines.startswith(b"..") else lines
