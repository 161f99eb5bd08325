"""One SMTP connection of the sink (RFC 5321, RFC 2920).

All data of a read is processed at once and answered in one write, so that a pipelined message costs
two wake-ups.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from bench.sink.script import AT_RCPT, TAKES_MESSAGE, Action, Script
from bench.sink.tally import ReceivedMessage, Tally

END = b"\r\n.\r\n"
LINE_MAX = 4096  # well above the 512 of RFC 5321 §4.5.3.1.4
GREETING = b"220 sink.example ESMTP\r\n"
OK = b"250 2.0.0 Ok\r\n"
RCPT_REPLIES = {
    Action.DEFER: b"451 4.7.1 Greylisted, come again\r\n",
    Action.BOUNCE: b"550 5.1.1 No such user here\r\n",
}
DATA_REPLIES = {
    Action.ACCEPT: b"250 2.0.0 Ok: taken\r\n",
    Action.DEFER_DATA: b"451 4.3.0 Try again later\r\n",
    Action.BOUNCE_DATA: b"554 5.7.1 Message refused\r\n",
}


@dataclass(frozen=True, slots=True)
class SinkContext:
    """Objects shared by all connections."""

    tally: Tally
    script: Script
    clock: Callable[[], float]
    ehlo: bytes

    @staticmethod
    def hello(size: int) -> bytes:
        lines = ["sink.example", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8"]
        if size:
            lines.append(f"SIZE {size}")
        marked = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
        return "".join(f"{line}\r\n" for line in marked).encode()


class Session(asyncio.Protocol):
    def __init__(self, context: SinkContext) -> None:
        self.context = context
        self.buffer = bytearray()
        self.searched = 0  # position of the search for end of data
        self.in_data = False
        self.is_closed = False  # true if the session hangs or is closed
        self.out: list[bytes] = []
        self.number = 0
        self.reset_transaction()

    def reset_transaction(self) -> None:
        self.sender = ""
        self.recipients: list[str] = []
        self.after_data = Action.ACCEPT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.context.tally.connections += 1
        self.number = self.context.tally.connections
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        if self.is_closed:
            return
        self.buffer += data
        while not self.is_closed and (self.end_data() if self.in_data else self.end_line()):
            pass
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def end_line(self) -> bool:
        """Process one command; False if the buffer has no complete line."""
        end = self.buffer.find(b"\n")
        if end < 0:
            if len(self.buffer) > LINE_MAX:
                self.hang_up(b"500 5.5.2 Line too long\r\n")
            return False
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        self.command(line.rstrip(b"\r"))
        return True

    def command(self, line: bytes) -> None:
        act = COMMANDS.get(line[:4].upper())
        if act is None:
            self.out.append(b"502 5.5.1 Not known here\r\n")
        else:
            act(self, line)

    def on_hello(self, line: bytes) -> None:
        self.reset_transaction()
        extended = line[:4].upper() == b"EHLO"
        self.out.append(self.context.ehlo if extended else b"250 sink.example\r\n")

    def on_mail(self, line: bytes) -> None:
        self.reset_transaction()
        self.sender = path(line)
        self.out.append(OK)

    def on_rcpt(self, line: bytes) -> None:
        recipient = path(line)
        context = self.context
        context.tally.attempted.setdefault(recipient, context.clock())
        action = context.script.action(recipient)
        if action in AT_RCPT:
            context.script.spend(recipient)
            self.refuse(action)
            return
        if self.after_data is Action.ACCEPT:
            self.after_data = action
        self.recipients.append(recipient)
        self.out.append(OK)

    def refuse(self, action: Action) -> None:
        if action is Action.HANG_RCPT:
            self.is_closed = True
        else:
            self.out.append(RCPT_REPLIES[action])

    def on_data(self, line: bytes) -> None:
        if not self.recipients:
            self.out.append(b"503 5.5.1 No recipient\r\n")
        elif self.after_data is Action.CUT_DATA:
            self.spend()
            self.hang_up()
        else:
            self.in_data = True
            self.searched = 0
            self.out.append(b"354 Go ahead\r\n")

    def end_data(self) -> bool:
        """Process one message; False if the buffer has no end of data."""
        if self.buffer.startswith(b".\r\n"):
            raw, rest = b"", 3
        else:
            at = self.buffer.find(END, max(0, self.searched - len(END)))
            if at < 0:
                self.searched = len(self.buffer)
                return False
            raw, rest = bytes(self.buffer[: at + 2]), at + len(END)
        del self.buffer[:rest]
        self.in_data = False
        self.take(raw)
        return True

    def take(self, raw: bytes) -> None:
        action, context = self.after_data, self.context
        if action in TAKES_MESSAGE:
            context.tally.take(
                ReceivedMessage(
                    self.sender, self.recipients, raw, self.number, context.clock(), action
                )
            )
        self.spend()
        if action is Action.HANG:
            self.is_closed = True
        elif action is Action.CUT:
            self.hang_up()
        else:
            self.out.append(DATA_REPLIES[action])
        self.reset_transaction()

    def spend(self) -> None:
        for recipient in self.recipients:
            self.context.script.spend(recipient)

    def on_reset(self, line: bytes) -> None:
        self.reset_transaction()
        self.out.append(OK)

    def on_noop(self, line: bytes) -> None:
        self.out.append(OK)

    def on_quit(self, line: bytes) -> None:
        self.hang_up(b"221 2.0.0 Bye\r\n")

    def hang_up(self, last: bytes = b"") -> None:
        """Close after the pending replies; a cut after end of data has none."""
        self.is_closed = True
        if last:
            self.out.append(last)
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()
        self.transport.close()


COMMANDS: dict[bytes, Callable[[Session, bytes], None]] = {
    b"EHLO": Session.on_hello,
    b"HELO": Session.on_hello,
    b"MAIL": Session.on_mail,
    b"RCPT": Session.on_rcpt,
    b"DATA": Session.on_data,
    b"RSET": Session.on_reset,
    b"NOOP": Session.on_noop,
    b"QUIT": Session.on_quit,
}


def path(line: bytes) -> str:
    """The address between the angle brackets of MAIL or RCPT."""
    start, end = line.find(b"<"), line.find(b">")
    inside = line[start + 1 : end] if 0 <= start < end else line.partition(b":")[2].strip()
    return inside.decode("utf-8", "replace")
