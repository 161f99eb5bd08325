"""The client of a gRPC call, and the limits of its message."""

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from contracts.ingest.v1 import email_service_pb2 as pb
from services.ingest.api.grpc.server import Context, Handler, TrustedProxies, defer_read
from services.ingest.domain.problem import Problem

PROXIES = "10.0.0.0/8, 192.0.2.1"


def context(peer: str, *forwarded: str) -> Context:
    fields = [("x-forwarded-for", one) for one in forwarded]
    made = SimpleNamespace(peer=lambda: peer, invocation_metadata=lambda: fields)
    return cast(Context, made)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ("", "ipv4:192.0.2.1:5", ["203.0.113.5"], "192.0.2.1"),
        (PROXIES, "ipv4:192.0.2.9:5", ["203.0.113.5"], "192.0.2.9"),
        (PROXIES, "ipv4:192.0.2.1:5", ["203.0.113.5"], "203.0.113.5"),
        (PROXIES, "ipv4:192.0.2.1:5", ["198.51.100.7, 203.0.113.5, 10.1.1.1"], "203.0.113.5"),
        (PROXIES, "ipv4:192.0.2.1:5", ["198.51.100.7", "203.0.113.5"], "203.0.113.5"),
        (PROXIES, "ipv4:192.0.2.1:5", [], "192.0.2.1"),
        ("2001:db8::/32", "ipv6:%5B2001:db8::1%5D:5", ["203.0.113.5"], "203.0.113.5"),
        ("", "ipv6:%5B2001:db8::1%5D:5", [], "2001:db8::1"),
        ("", "unix:", [], ""),
    ],
)
def test_a_forwarded_address_is_trusted_only_from_a_trusted_proxy(
    trusted: str, peer: str, forwarded: list[str], client: str
) -> None:
    assert TrustedProxies(trusted).client_of(context(peer, *forwarded)) == client


@pytest.mark.parametrize(
    ("octets", "words"), [(b"x" * 101, "larger than"), (b"\xff\xff", "does not parse")]
)
def test_the_size_of_a_message_is_checked_before_it_is_parsed(octets: bytes, words: str) -> None:
    handler: Handler = grpc.unary_unary_rpc_method_handler(
        cast(Any, None), pb.GetEmailRequest.FromString, None
    )
    parse = cast(Any, defer_read(handler, 100)).request_deserializer
    assert parse(pb.GetEmailRequest(id="a").SerializeToString()).message.id == "a"
    with pytest.raises(Problem, match=words):
        parse(octets)
