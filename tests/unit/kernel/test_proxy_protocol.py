import contextlib
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.proxy_protocol import (
    SIGNATURE,
    ProxyError,
    parse_v1,
    parse_v2,
    v2_length,
)


def v2(version: int, family: int, body: bytes) -> tuple[bytes, bytes]:
    return SIGNATURE + pack("!BBH", version, family, len(body)), body


def test_the_client_of_version_1() -> None:
    assert parse_v1(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 587\r\n") == "192.0.2.7"
    assert parse_v1(b"PROXY TCP6 2001:db8::7 ::1 5000 587\r\n") == "2001:db8::7"
    assert parse_v1(b"PROXY UNKNOWN\r\n") == ""


@pytest.mark.parametrize(
    "line",
    [
        b"EHLO client\r\n", b"PROXY\r\n", b"PROXY TCP4 a b 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n", b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 587\n",
    ],
)  # fmt: skip
def test_a_connection_without_a_header_is_refused(line: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_v1(line)


def test_the_client_of_version_2() -> None:
    ipv4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + pack("!HH", 5000, 587)
    head, body = v2(0x21, 0x11, ipv4 + b"tlv")
    assert v2_length(head) == len(body)
    assert parse_v2(head, body) == "192.0.2.7"
    assert parse_v2(*v2(0x21, 0x21, bytes(range(32)) + b"1234")) == "1:203:405:607:809:a0b:c0d:e0f"
    assert parse_v2(*v2(0x20, 0x11, ipv4)) == ""  # LOCAL: a health check
    with pytest.raises(ProxyError):
        parse_v2(*v2(0x21, 0x11, ipv4[:-1]))


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=60))
def test_other_octets_are_refused_or_read(head: bytes, body: bytes) -> None:
    for begin in (head, SIGNATURE + head[:4]):
        try:
            v2_length(begin)
            parse_v2(begin, body)
        except ProxyError:
            pass
        with contextlib.suppress(ProxyError):
            parse_v1(begin + body)
