import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from kernel import auth
from kernel.auth import ApiKeyAuthenticator, AuthError
from kernel.crypto import sha256

NOW = datetime(2030, 1, 31, tzinfo=UTC)


@dataclass
class Stored:
    test: bool = False
    deleted: bool = False
    scopes: list[str] = field(default_factory=lambda: [auth.FULL_ACCESS])
    cidrs: list[str] = field(default_factory=list)
    expires_at: Timestamp = field(default_factory=Timestamp)


def reason_of(stored: Stored, *, client: str = "192.0.2.1", scope: str = "sending_access") -> str:
    with pytest.raises(AuthError) as denied:
        auth.authorize(stored, client=client, now_s=NOW.timestamp(), scope=scope)
    return denied.value.reason


def test_a_new_key_names_its_mode_and_has_a_digest() -> None:
    live, test = (
        auth.generate_key(test=False, brand="obm"),
        auth.generate_key(test=True, brand="obm"),
    )

    assert live.startswith("obm_live_")
    assert test.startswith("obm_test_")
    assert auth.digest(live) == sha256(live)
    assert live != auth.generate_key(test=False, brand="obm")


@given(st.integers(0, 44), st.sampled_from(auth.ALPHABET))
def test_a_mistyped_key_is_rejected_without_a_lookup(position: int, character: str) -> None:
    key = "obm_live_012345678901234567890123456789"
    key += auth.checksum(key)
    changed = key[:position] + character + key[position + 1 :]
    if changed == key:
        return

    with pytest.raises(AuthError) as denied:
        auth.digest(changed)
    assert denied.value.reason == "invalid"


def test_a_request_without_a_bearer_key_gets_instructions() -> None:
    for header in ("", "Bearer", "Bearer ", "Basic abc"):
        with pytest.raises(AuthError) as denied:
            auth.bearer_key(header)
        assert denied.value.reason == "missing"
    assert auth.bearer_key("bearer abc") == "abc"


def test_expired_address_and_scope_errors_have_different_reasons() -> None:
    past, future = (Timestamp(seconds=int(NOW.timestamp()) + at) for at in (0, 1))

    assert reason_of(Stored(deleted=True)) == "invalid"
    assert reason_of(Stored(expires_at=past)) == "expired"
    assert reason_of(Stored(cidrs=["198.51.100.0/24"])) == "ip_not_allowed"
    assert reason_of(Stored(cidrs=["198.51.100.0/24"]), client="") == "ip_not_allowed"
    assert reason_of(Stored(scopes=["sending_access"]), scope=auth.FULL_ACCESS) == "restricted"
    narrow = Stored(
        scopes=["sending_access"], cidrs=["192.0.2.0/24", "2001:db8::/32"], expires_at=future
    )
    for client in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"):
        auth.authorize(narrow, client=client, now_s=NOW.timestamp(), scope="sending_access")


def test_a_key_works_as_soon_as_it_is_created() -> None:
    key = auth.generate_key(test=False, brand="obm")
    fetched: list[bytes] = []

    async def fetch(digest: bytes) -> Stored | None:
        fetched.append(digest)
        return Stored() if digest == sha256(key) else None

    authenticator: ApiKeyAuthenticator[Stored] = ApiKeyAuthenticator(lambda _: None, fetch)

    async def check(secret: str) -> Stored:
        return await authenticator.authenticate(
            f"Bearer {secret}", client="192.0.2.1", now=NOW, scope="sending_access"
        )

    assert asyncio.run(check(key)) == Stored()
    with pytest.raises(AuthError):
        asyncio.run(check(auth.generate_key(test=False, brand="obm")))
    assert len(fetched) == 2
