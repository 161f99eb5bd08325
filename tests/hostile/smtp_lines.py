"""Generated SMTP sessions against the server's session: no crash, and no stray acceptance.

    python -m tests.hostile.smtp_lines --lines 1000000 --seed 1

An oracle of its own follows the dialogue: it knows from the replies alone what may be accepted.
"""

import argparse
import base64
import random
import re
import time
from dataclasses import dataclass, field

from mail.smtp_server import ServerSession
from mail.smtp_server_events import (
    Event,
    Login,
    MessageReceived,
    RecipientGiven,
    SenderGiven,
    ServerConfig,
    StartTls,
)

CONFIG = ServerConfig("mx.example.net", octets_max=2_000, recipients_max=3)
PASSWORD = "right"
REPLY = re.compile(rb"(?:[2-5][0-9]{2}-[ -~]{0,500}\r\n)*[2-5][0-9]{2} ?[ -~]{0,500}\r\n")
VERBS = (
    "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "HELP",
    "VRFY", "EXPN", "BDAT", "ETRN", "XCLIENT", "GET", "ehlo", "Mail", "",
)  # fmt: skip
ARGUMENTS = (
    "client.example", "[192.0.2.1]", "FROM:<a@a.example>", "FROM:<>", "TO:<b@b.example>",
    "TO:<c@c.example>", "FROM:<a@a.example> SIZE=100 BODY=8BITMIME", "TO:<@x,@y:b@b.example>",
    "FROM:<ü@a.example> SMTPUTF8", "FROM:<a@a.example> REQUIRETLS", 'TO:<"a b"@b.example>',
    "TO:<b@b.example", "TO:b@b.example", "FROM:<a@a.example> SIZE=99999999999999999999999",
    "PLAIN", "LOGIN", "CRAM-MD5", "PLAIN =", "LOGIN *", "", " ", "x" * 300, "TO:<a%b@c.example>",
)  # fmt: skip
ENDS = ("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\0\r\n", "", "\r\n.\r\n", "\n.\n")


def plain(password: str) -> str:
    return base64.b64encode(f"\0anna\0{password}".encode()).decode()


@dataclass
class Oracle:
    """What the server may accept, by what it has replied."""

    secure: bool
    logged_in: bool = False
    sender: bool = False
    recipients: set[str] = field(default_factory=set)
    accepted: int = 0

    def check(self, event: Event, positive: bool) -> None:
        if isinstance(event, Login):
            assert self.secure
            assert not self.logged_in
            self.logged_in = positive
        elif isinstance(event, StartTls):
            assert not self.secure
            self.secure, self.sender = True, False
            self.recipients.clear()
        else:
            assert self.secure
            assert self.logged_in
            self._check_transaction(event, positive)

    def _check_transaction(self, event: Event, positive: bool) -> None:
        if isinstance(event, SenderGiven):
            self.sender = positive
            self.recipients.clear()
        elif isinstance(event, RecipientGiven):
            assert self.sender
            if positive:
                self.recipients.add(event.mailbox.address)
        elif isinstance(event, MessageReceived):
            assert self.sender
            assert {one.address for one in event.recipients} == self.recipients != set()
            assert len(event.content) <= CONFIG.octets_max
            self.sender = False
            self.accepted += positive


@dataclass
class Client:
    """Sends random lines, more often sensible ones."""

    seed: int
    lines: int = 0
    sessions: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def run(self, lines: int) -> None:
        while self.lines < lines:
            self._session()
            self.sessions += 1

    def _session(self) -> None:
        secure = self.random.random() < 0.8
        session, oracle = ServerSession(CONFIG, secure=secure), Oracle(secure)
        session.greet()
        script = [] if self.random.random() < 0.2 else self._opening(secure)
        budget = self.random.randrange(1, 60)
        while not session.is_closed and budget:
            budget -= 1
            data = script.pop(0) if script else self._octets(session)
            self.lines += data.count(b"\n") or 1
            for piece in self._pieces(data):
                self._receive(session, oracle, piece)
        self.accepted += oracle.accepted

    def _receive(self, session: ServerSession, oracle: Oracle, piece: bytes) -> None:
        session.receive(piece)
        while (event := session.next_event()) is not None:
            reply = self._decide(event)
            oracle.check(event, reply.startswith("2"))
            session.respond(reply)
            if isinstance(event, StartTls):
                if session.unread_octets:
                    session.close()
                    return
                session.start_tls()
        replies = session.take_replies()
        assert (
            not replies
            or REPLY.fullmatch(replies)
            or all(
                REPLY.fullmatch(line + b"\r\n") or line[3:4] == b"-"
                for line in replies.split(b"\r\n")[:-1]
            )
        ), replies
        assert session.unread_octets < 20_000

    def _decide(self, event: Event) -> str:
        if isinstance(event, StartTls):
            return "220 2.0.0 Ready"
        if isinstance(event, Login):
            return "235 2.7.0 Ok" if event.password == PASSWORD else "535 5.7.8 No"
        return self.random.choice(
            ("250 2.0.0 Ok",) * 6 + ("550 5.7.1 No\r\n250 injected", "451 4.3.0 ü")
        )

    def _opening(self, secure: bool) -> list[bytes]:
        opening = [b"EHLO client.example\r\n"]
        if not secure:
            opening += [b"STARTTLS\r\n", b"EHLO client.example\r\n"]
        opening.append(f"AUTH PLAIN {plain(PASSWORD)}\r\n".encode())
        if self.random.random() < 0.7:
            opening.append(b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n")
        return opening[: self.random.randrange(1, len(opening) + 1)]

    def _octets(self, session: ServerSession) -> bytes:
        if session.expects_message:
            return self._message()
        if self.random.random() < 0.1:
            return self.random.randbytes(self.random.randrange(1, 200)) + b"\r\n"
        count = 1 if self.random.random() < 0.8 else self.random.randrange(2, 5)
        return "".join(self._line() for _ in range(count)).encode("utf-8", "replace")

    def _line(self) -> str:
        chance = self.random.random()
        if chance < 0.05:
            return plain(self.random.choice((PASSWORD, "wrong"))) + "\r\n"
        if chance < 0.07:
            return "x" * self.random.randrange(1_900, 14_000) + "\r\n"
        argument = self.random.choice(ARGUMENTS)
        if chance < 0.12:
            argument = f"PLAIN {plain(self.random.choice((PASSWORD, 'wrong')))}"
        return f"{self.random.choice(VERBS)} {argument}{self.random.choice(ENDS)}"

    def _message(self) -> bytes:
        pieces = [
            b"From: a@a.example",
            b"",
            b".",
            b"..",
            b"MAIL FROM:<x@x.example>",
            b"\0",
            b"x" * 700,
        ]
        ends = [b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n.\n", b"\n.\r\n", b"\r.\r"]
        body = b"".join(
            self.random.choice(pieces) + self.random.choice(ends)
            for _ in range(self.random.randrange(6))
        )
        return body + (b"\r\n.\r\n" if self.random.random() < 0.6 else b"")

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.random.random() < 0.8:
            return [data]
        size = self.random.randrange(1, 40)
        return [data[at : at + size] for at in range(0, len(data), size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began_s = time.monotonic()
    client = Client(given.seed)
    client.run(given.lines)
    print(
        f"{client.lines} lines in {client.sessions} sessions, {client.accepted} messages "
        f"accepted, 0 strays, {time.monotonic() - began_s:.0f} s"
    )


if __name__ == "__main__":
    main()
