"""Orders of certificates: when, how often, and what a failure means."""

import asyncio
import string
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from josepy.jwk import JWKEC

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.brand import Brand, Brands
from services.events.api.tracking.challenges import PREFIX, ChallengeApp
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.clients.tracking_hosts import DomainTrackingHosts
from services.events.domain.certificates import (
    FAILURES_MAX,
    IssuedCertificate,
    account_key,
    claim_delay,
    retry_delay,
    thumbprint,
)
from tests.support.authority import DAY, Certified

KEY = account_key(b"k" * 32)
HOST = "links.shop.example"


def test_the_key_of_the_account_follows_from_the_secret_and_has_the_known_thumbprint() -> None:
    again, other = account_key(b"k" * 32), account_key(b"\xff" * 32)
    assert again.private_numbers() == KEY.private_numbers()
    assert other.private_numbers() != KEY.private_numbers()
    for key in (KEY, other):
        expected = JWKEC(key=key).thumbprint()  # by a library
        assert urlsafe_b64decode(thumbprint(key) + "=") == expected


def test_orders_that_fail_are_repeated_less_and_less_and_then_not_at_all() -> None:
    delays = [retry_delay(failures) for failures in range(1, FAILURES_MAX)]
    assert delays[:4] == [timedelta(minutes=minutes) for minutes in (5, 10, 20, 40)]
    assert delays[-1] == timedelta(hours=24)
    # Let's Encrypt allows five failed validations in an hour.
    at = timedelta()
    in_an_hour = 1
    for delay in delays:
        assert delay is not None
        at += delay
        in_an_hour += at < timedelta(hours=1)
    assert in_an_hour == 4
    assert retry_delay(FAILURES_MAX) is None


def test_an_order_whose_process_has_ended_is_always_repeated() -> None:
    assert claim_delay(0) == retry_delay(1)
    assert claim_delay(FAILURES_MAX - 1) == timedelta(hours=24)


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left() -> None:
    made = Certified.root("ca").server(HOST, since=-30 * DAY, until=60 * DAY)
    issued = IssuedCertificate.of(b"key", made.certificate.public_bytes(Encoding.PEM))
    assert issued.renew_at - issued.not_before == 60 * DAY
    assert issued.not_after > datetime.now(UTC)


def challenge_app() -> ChallengeApp:
    own = DomainTrackingHosts(None)
    own.table.put(TrackingHost(tracking_host_id="1", version=1, host=HOST, target="t.acme.test"))
    brands = Brands({"acme": Brand("Acme", "acme", tracking_host="t.acme.test")})
    return ChallengeApp("thumb", LinkHostRegistry(brands, own.target_of, lambda: True))


async def answer(path: str, *, host: bytes = HOST.encode(), method: str = "GET") -> Any:  # noqa: ANN401
    sent: list[Any] = []

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "headers": [(b"host", host)],
        "raw_path": path.encode("utf-8", "surrogatepass"), "query_string": b"",
    }  # fmt: skip
    await challenge_app()(scope, None, send)  # type: ignore[arg-type]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize(
    ("path", "host", "method", "status"),
    [
        (f"{PREFIX}abc-DEF_1", HOST, "GET", 200),
        (f"{PREFIX}abc", "t.acme.test", "GET", 200),
        (f"{PREFIX}abc", "other.example", "GET", 421),
        (PREFIX, HOST, "GET", 404),
        (f"{PREFIX}a/b", HOST, "GET", 404),
        (f"{PREFIX}{'a' * 129}", HOST, "GET", 404),
        ("/c/token", HOST, "GET", 308),
        ("/u/token", HOST, "POST", 404),
    ],
)
async def test_challenges_are_answered_and_all_else_is_redirected(
    path: str, host: str, method: str, status: int
) -> None:
    found, headers, body = await answer(path, host=host.encode(), method=method)
    assert found == status
    assert body == (f"{path.removeprefix(PREFIX)}.thumb".encode() if status == 200 else b"")
    if status == 308:
        assert headers[b"location"] == f"https://{host}{path}".encode()


@given(st.text(max_size=40), st.binary(max_size=40), st.sampled_from([PREFIX, "/", ""]))
def test_whatever_a_stranger_sends_is_answered(text: str, host: bytes, prefix: str) -> None:
    for name in (host, HOST.encode()):
        status, headers, body = asyncio.run(answer(prefix + text, host=name))
        assert status in {200, 308, 404, 421}
        assert body == b"" or set(body.decode()) <= {*string.ascii_letters, *string.digits, *"-_."}
        assert headers.get(b"location", b"https://").startswith(b"https://")
