"""A challenge to a host by gRPC, without I/O: one call over HTTP/2 (RFC 9113) whose certificate the
caller can see, which grpc's own channels do not show."""

from collections.abc import Iterator, Mapping

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue

from kernel.host_challenge import GRPC_METHOD, METADATA

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
STREAM = 1
HEAD_OCTETS = 9  # of a frame
EMPTY_MESSAGE = bytes(5)  # of gRPC: not compressed, no octets


def call(host: str, challenge: str) -> bytes:
    """All that the client sends."""
    fields = {
        ":method": "POST", ":scheme": "https", ":path": GRPC_METHOD, ":authority": host,
        "content-type": "application/grpc", "te": "trailers", METADATA: challenge,
    }  # fmt: skip
    return b"".join(
        (
            PREFACE,
            _frame(SETTINGS, 0, b"", stream=0),
            _frame(HEADERS, END_HEADERS, _header_block(fields), stream=STREAM),
            _frame(DATA, END_STREAM, EMPTY_MESSAGE, stream=STREAM),
        )
    )


def is_ended(received: bytes) -> bool:
    """Whether the server has ended the call or the connection."""
    for kind, flags, stream, _ in _frames(received):
        ends = kind == RESET or (kind in {DATA, HEADERS} and flags & END_STREAM)
        if kind == GOAWAY or (stream == STREAM and ends):
            return True
    return False


def response_in(received: bytes) -> str:
    """The response to the challenge; empty if there is none."""
    message = b"".join(
        _without_padding(flags, payload)
        for kind, flags, stream, payload in _frames(received)
        if (kind, stream) == (DATA, STREAM)
    )
    size = int.from_bytes(message[1:5], "big")
    if message[:1] != b"\0" or len(message) != len(EMPTY_MESSAGE) + size:
        return ""
    try:
        return StringValue.FromString(message[len(EMPTY_MESSAGE) :]).value
    except DecodeError:
        return ""


def _frames(received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of those that are complete."""
    while len(received) >= HEAD_OCTETS:
        end = HEAD_OCTETS + int.from_bytes(received[:3], "big")
        if len(received) < end:
            return
        stream = int.from_bytes(received[5:HEAD_OCTETS], "big") & 0x7FFFFFFF
        yield received[3], received[4], stream, received[HEAD_OCTETS:end]
        received = received[end:]


def _frame(kind: int, flags: int, payload: bytes, *, stream: int) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def _without_padding(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED or not payload:
        return payload
    return payload[1 : len(payload) - payload[0]]


def _header_block(fields: Mapping[str, str]) -> bytes:
    """Literal fields without indexing and Huffman coding (RFC 7541 §6.2.2)."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())


def _string(text: str) -> bytes:
    """Its length as an integer with a prefix of seven bits (RFC 7541 §5.1), and the octets."""
    octets = text.encode()
    if len(octets) < 0x7F:
        return bytes((len(octets),)) + octets
    rest, length = len(octets) - 0x7F, bytearray((0x7F,))
    while rest >= 0x80:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*length, rest)) + octets
