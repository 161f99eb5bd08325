"""Reading messages from the wire in the sandbox, in pieces of any size."""

import asyncio
import tracemalloc

import pytest

from mail import smtp
from services.delivery.api.sandbox import SandboxListener, SandboxServer, read_until_end_of_data

MESSAGES = [
    b"",
    b"\r\n",
    b"Subject: a\r\n\r\nx\r\n",
    b".\r\n.\r\n..\r\n",
    b"a\r\n.b\r\n\r\n\r\n",
    b"x" * 5000 + b"\r\n" + b".\r\n" * 3,
]


async def read(
    stream: bytes, *, piece_size: int, octets_max: int = 1 << 20
) -> tuple[bytes | None, bytes]:
    """The message, and the rest of the stream."""
    reader = asyncio.StreamReader(limit=1001)

    async def feed() -> None:
        for start in range(0, len(stream), piece_size):
            reader.feed_data(stream[start : start + piece_size])
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.ensure_future(feed())
    found = await read_until_end_of_data(reader, octets_max)
    await feeding
    return found, await reader.read()


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("piece_size", [1, 2, 3, 1000, 1 << 20])
def test_a_message_ends_at_end_of_data(message: bytes, piece_size: int) -> None:
    stream = smtp.dot_stuff(message) + b".\r\nQUIT\r\n"

    found, rest = asyncio.run(read(stream, piece_size=piece_size))

    assert found is not None
    assert smtp.dot_unstuff(found) == message
    assert rest == b"QUIT\r\n"


def test_a_message_that_is_too_large_is_read_to_the_end_and_discarded() -> None:
    stream = b"x" * 3000 + b"\r\n.\r\nQUIT\r\n"
    assert asyncio.run(read(stream, piece_size=100, octets_max=2000)) == (None, b"QUIT\r\n")


def test_memory_for_a_million_empty_lines_is_proportional_to_their_octets() -> None:
    stream = b"\r\n" * 1_000_000 + b".\r\n"
    tracemalloc.start()
    try:
        found, _ = asyncio.run(read(stream, piece_size=65_536, octets_max=1 << 22))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == stream[:-3]
    assert peak < 4 * len(stream)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ('<"try..this"@x.example> SIZE=9', ('"try..this"@x.example', " SIZE=9")),
        ('<"a b>\\"c"@x.example>', ('"a b>\\"c"@x.example', "")),
        ("<a@x.example>", ("a@x.example", "")),
        ("a@x.example", (None, None)),
        ("<a@x.example", (None, None)),
    ],
)
def test_a_path_is_the_text_between_its_brackets(
    argument: str, expected: tuple[str | None, str | None]
) -> None:
    assert SandboxServer._getaddr(SandboxServer.__new__(SandboxServer), argument) == expected


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_the_sandbox_listens_on_either_family(address: str) -> None:
    listener = SandboxListener(address, None)  # type: ignore[arg-type]
    listener._socket.close()
