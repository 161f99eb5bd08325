"""gRPC calls whose messages never arrive completely: a minimal HTTP/2 client (RFC 9113)."""

import asyncio
from collections import defaultdict

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW = 0, 1, 3, 4, 6, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW = 4  # from the SETTINGS frame
FRAME_BYTES = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def literal(name: str, value: str) -> bytes:
    """A header field without Huffman coding and indexing (RFC 7541 §6.2.2)."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


class HalfSent:
    """One connection. ended: the streams that the server has answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._window = 65_535
        self._windows: defaultdict[int, int] = defaultdict(lambda: self._window)
        self._windows[0] = 65_535
        self._more = asyncio.Event()
        self._streams: range = range(0)
        self.ended: set[int] = set()

    def call(self, path: str, authorization: str, *, calls: int, declared: int) -> None:
        """Start this many calls. declared: the octets of each message."""
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x",
                  "content-type": "application/grpc", "te": "trailers",
                  "authorization": authorization}  # fmt: skip
        block = b"".join(literal(*field) for field in fields.items())
        self._streams = range(1, 2 * calls, 2)
        self._writer.write(PREFACE + frame(SETTINGS, 0, 0))
        for stream in self._streams:
            self._writer.write(frame(HEADERS, END_HEADERS, stream, block))
            self._send(stream, b"\0" + declared.to_bytes(4, "big"))

    async def send(self, octets: int) -> None:
        """Send this many octets more of each message whose call has not ended. Returns when all are
        sent."""
        left = dict.fromkeys(self._streams, octets)
        while True:
            left = {one: n for one, n in left.items() if n > 0 and one not in self.ended}
            if not left:
                return
            if not sum(self._fill(stream, left) for stream in left):
                self._more.clear()
                await self._more.wait()
            await self._writer.drain()
            await asyncio.sleep(0)

    def _fill(self, stream: int, left: dict[int, int]) -> int:
        size = min(FRAME_BYTES, left[stream], self._windows[0], self._windows[stream])
        if size > 0:
            self._send(stream, bytes(size))
            left[stream] -= size
        return max(0, size)

    def _send(self, stream: int, octets: bytes) -> None:
        self._writer.write(frame(DATA, 0, stream, octets))
        self._windows[0] -= len(octets)
        self._windows[stream] -= len(octets)

    async def listen(self) -> None:
        """Read until the server closes the connection."""
        while True:
            head = await self._reader.readexactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            self._hear(
                kind, flags, stream, await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            )
            self._more.set()

    def _hear(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW:
                    self._change(int.from_bytes(payload[at + 2 : at + 6], "big"))
            self._writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._writer.write(frame(PING, ACK, 0, payload))
        elif kind == RESET or (kind == HEADERS and flags & END_STREAM):
            self.ended.add(stream)

    def _change(self, window: int) -> None:
        for stream in self._windows.keys() - {0}:
            self._windows[stream] += window - self._window
        self._window = window
