"""The PROXY protocol of HAProxy, versions 1 and 2: the client's address, from a balancer."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
V1_MAX = 107  # octets with CRLF
V2_HEAD = 16
V2_MAX = 4_096  # octets after the head; TLVs are skipped
_V2 = Struct("!12sBBH")
_ADDRESSES = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}  # TCP over IPv4 and IPv6


class ProxyError(ValueError):
    """The octets are not a PROXY header."""


def parse_v1(line: bytes) -> str:
    """`PROXY TCP4 client server port port CRLF`. The client's address; empty for UNKNOWN, such as a
    health check of the balancer. Raises ProxyError."""
    words = line.removesuffix(b"\r\n").decode("latin-1").split(" ")
    if not line.endswith(b"\r\n") or words[0] != "PROXY" or len(words) < 2:
        raise ProxyError("no PROXY header")
    if words[1] == "UNKNOWN":
        return ""
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ProxyError("invalid PROXY header")
    try:
        return str(ip_address(words[2]))
    except ValueError:
        raise ProxyError("invalid address in the PROXY header") from None


def v2_length(head: bytes) -> int:
    """The octets that follow the head of 16 octets. Raises ProxyError."""
    signature, version, _, length = _V2.unpack(head)
    if signature != SIGNATURE or version >> 4 != 2 or length > V2_MAX:
        raise ProxyError("no PROXY header")
    return int(length)


def parse_v2(head: bytes, body: bytes) -> str:
    """The client's address; empty for LOCAL or another family. Raises ProxyError."""
    _, version, family, _ = _V2.unpack(head)
    if version & 0x0F == 0 or family not in _ADDRESSES:
        return ""
    kind, octets = _ADDRESSES[family]
    if len(body) < 2 * octets + 4:
        raise ProxyError("the PROXY header is too short")
    return str(kind(body[:octets]))
