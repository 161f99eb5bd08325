"""The same messages over SMTP, for the peers and for submission: persistent connections,
pipelining (RFC 2920)."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import cast

from bench.load.driver import Connection, Driver
from bench.messages import SENDER, Variant

REPLIES_TO_ENVELOPE = 3  # MAIL, RCPT, DATA


class SmtpConnection(asyncio.Protocol, Connection):
    """Two round trips per message: envelope and DATA in one write, then the body with end of
    data. key: an API key to log in with; empty: no login."""

    def __init__(self, driver: Driver, variants: Sequence[Variant], key: str = "") -> None:
        self.driver = driver
        self.variants = variants
        self.key = key
        self.buffer = b""
        self.codes: list[int] = []
        self.stage = self.on_greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.driver.lost(self)

    def data_received(self, data: bytes) -> None:
        lines = (self.buffer + data).split(b"\r\n")
        self.buffer = lines.pop()
        for line in lines:
            if line[3:4] != b"-":
                self.codes.append(int(line[:3]))
                self.stage()

    def on_greeting(self) -> None:
        self.codes.clear()
        self.stage = self.on_hello
        self.transport.write(b"EHLO load.example\r\n")

    def on_hello(self) -> None:
        self.codes.clear()
        if not self.key:
            self.driver.join(self)
            return
        self.stage = self.on_login
        self.transport.write(b"AUTH PLAIN %b\r\n" % b64encode(f"\0key\0{self.key}".encode()))

    def on_login(self) -> None:
        if self.codes.pop() != 235:
            self.transport.close()
            return
        self.driver.join(self)

    def send(self, serial: int) -> None:
        variant = self.variants[serial % len(self.variants)]
        self.body = variant.mime(serial)
        self.stage = self.on_envelope
        self.transport.write(
            b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n"
            % (SENDER.encode(), variant.recipient(serial).encode())
        )

    def on_envelope(self) -> None:
        if len(self.codes) < REPLIES_TO_ENVELOPE:
            return
        refused = [code for code in self.codes if code >= 400]
        self.codes.clear()
        if refused:
            self.stage = self.on_reset
            self.refusal = refused[0]
            self.transport.write(b"RSET\r\n")
        else:
            self.stage = self.on_dot
            self.transport.write(self.body)

    def on_reset(self) -> None:
        self.codes.clear()
        self.driver.done(self, f"status {self.refusal}")

    def on_dot(self) -> None:
        code = self.codes.pop()
        self.driver.done(self, "accepted" if code == 250 else f"status {code}")
