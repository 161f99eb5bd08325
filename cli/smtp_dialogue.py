"""A client of SMTP that asks, and hands in no mail. What a stranger's server says is bounded in
size and in time."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

DEADLINE_S = 10.0  # of the whole dialogue
REPLY_MAX = 8 * 1024  # octets of one reply, of any number of lines
CRLF = "\r\n"


class SmtpDialogue:
    """Replies are text in one line: the code, and what all lines say. Raises OSError."""

    def __init__(self, connection: socket.socket, *, deadline_s: float = DEADLINE_S) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + deadline_s
        self._unread = b""

    @property
    def client_name(self) -> str:
        """An address literal (RFC 5321 §4.1.3): this machine may have no name that others know."""
        address = str(self._connection.getsockname()[0])
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    def command(self, text: str) -> str:
        self._wait_at_most()
        self._connection.sendall((text + CRLF).encode())
        return self.read_reply()

    def read_reply(self) -> str:
        lines: list[str] = []
        size = 0
        while not lines or lines[-1][3:4] == "-":
            line = self._read_line()
            size += len(line) + 1
            if size > REPLY_MAX:
                raise ConnectionError("its reply is too long")
            lines.append(line.decode("ascii", "replace").rstrip())
        return " ".join([lines[0][:3], *(one[4:] for one in lines)]).rstrip()

    def _read_line(self) -> bytes:
        while b"\n" not in self._unread:
            if len(self._unread) > REPLY_MAX:
                raise ConnectionError("its reply is too long")
            self._wait_at_most()
            if not (data := self._connection.recv(REPLY_MAX)):
                raise ConnectionError("closed the connection")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _wait_at_most(self) -> None:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("does not respond in time")
        self._connection.settimeout(left_s)


@contextmanager
def connected(host: str, port: int, *, deadline_s: float = DEADLINE_S) -> Iterator[SmtpDialogue]:
    """Raises OSError."""
    with socket.create_connection((host, port), deadline_s) as connection:
        yield SmtpDialogue(connection, deadline_s=deadline_s)


def reply_to_recipient(host: str, port: int, recipient: str) -> str:
    """What the server replies to a recipient of mail from <>, or to the command before, if it
    refuses that. Raises OSError."""
    with connected(host, port) as dialogue:
        reply = dialogue.read_reply()
        for command in (f"HELO {dialogue.client_name}", "MAIL FROM:<>", f"RCPT TO:<{recipient}>"):
            if not reply.startswith("2"):
                return reply
            reply = dialogue.command(command)
        return reply
