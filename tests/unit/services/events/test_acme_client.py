"""What authorities refuse, and how an account is bound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from kernel.crypto import new_secret_key
from services.events.clients.acme import AcmeClient
from services.events.domain.certificates import (
    CertificateOrderFailed,
    ExternalAccountBinding,
    account_key,
)
from services.events.settings import Settings

KEY, KEYS = account_key(b"k" * 32), new_secret_key()
HOST = "links.shop.example"


@asynccontextmanager
async def refusing_authority(
    status: int, problem: str = "rateLimited", *, resource: str = "account", **headers: str
) -> AsyncIterator[str]:
    """The URL of a directory whose resource for accounts, or for orders, refuses."""

    async def directory(request: web.Request) -> web.Response:
        base = str(request.url.origin())
        names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
        found: dict[str, object] = {name: f"{base}/{path}" for name, path in names.items()}
        return web.json_response(found | {"meta": {"caaIdentities": ["ca.example"]}})

    async def nonce(_: web.Request) -> web.Response:
        return web.Response(headers={"Replay-Nonce": "bm9uY2U"})

    async def answer(request: web.Request) -> web.Response:
        if request.path != f"/{resource}":
            location = str(request.url.origin() / "accounts/1")
            made = {"Replay-Nonce": "bm9uY2Uz", "Location": location}
            return web.json_response({"status": "valid"}, status=201, headers=made)
        found = {"type": f"urn:ietf:params:acme:error:{problem}", "detail": "too many new\norders"}
        return web.json_response(
            found, status=status, content_type="application/problem+json",
            headers={"Replay-Nonce": "bm9uY2Uy", **headers},
        )  # fmt: skip

    app = web.Application()
    app.router.add_get("/", directory)
    app.router.add_route("*", "/nonce", nonce)
    app.router.add_post("/account", answer)
    app.router.add_post("/order", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [({"Retry-After": "77"}, 77.0), ({"Retry-After": "9" * 400}, 7 * 86_400.0), ({}, 3600.0)],
)
async def test_an_authority_that_limits_is_left_alone_for_the_time_that_it_names(
    headers: dict[str, str], wait_s: float
) -> None:
    async with refusing_authority(429, **headers) as url:
        with pytest.raises(CertificateOrderFailed) as failed:
            await AcmeClient(url, KEY).order(HOST)
    assert (failed.value.wait_s, failed.value.problem) == (
        wait_s, "rateLimited: too many new orders",
    )  # fmt: skip


@pytest.mark.parametrize("problem", ["externalAccountRequired", "unauthorized", "malformed"])
async def test_an_account_that_is_refused_is_not_the_fault_of_a_host(problem: str) -> None:
    async with refusing_authority(403, problem) as url:
        with pytest.raises(CertificateOrderFailed) as failed:
            await AcmeClient(url, KEY, binding=ExternalAccountBinding("kid", b"k" * 32)).order(HOST)
    assert (failed.value.wait_s, failed.value.is_forbidden) == (300.0, False)
    words = f"The authority has refused the account: {problem}: too many new orders"
    assert failed.value.problem.startswith(words)
    assert ("EVENTS_ACME_EAB_KEY_ID" in failed.value.problem) == (problem[0] == "e")


async def test_a_host_whose_caa_records_forbid_it_learns_what_to_publish() -> None:
    async with refusing_authority(403, "caa", resource="order") as url:
        authority = AcmeClient(url, KEY)
        assert await authority.identities() == ("ca.example",)
        with pytest.raises(CertificateOrderFailed) as failed:
            await authority.order("links.shop.example.net")
    assert failed.value.is_forbidden
    assert failed.value.wait_s == 0.0
    assert failed.value.problem.endswith(
        "too many new orders. Add to the CAA records of shop.example.net, or of the domain above it"
        ' that has them: 0 issue "ca.example"'
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"acme_eab_key_id": "kid"},
        {"acme_eab_hmac_key": "a" * 43},
        {"acme_eab_key_id": "kid", "acme_eab_hmac_key": "short"},
        {"acme_eab_key_id": "kid", "acme_eab_hmac_key": "not base64 " * 5},
    ],
)
def test_a_binding_has_an_identifier_and_a_key(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="EVENTS_ACME_EAB"):
        Settings(secret_keys=[KEYS], **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("coded", ["-_" * 22, "+/" * 22, "A" * 43 + "="])
def test_the_key_of_a_binding_may_be_in_either_base64(coded: str) -> None:
    found = Settings(
        secret_keys=[KEYS], acme_eab_key_id="kid", acme_eab_hmac_key=coded
    ).account_binding()
    assert found is not None
    assert len(found.hmac_key) in (32, 33)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/dir", "not a URL"])
async def test_an_authority_that_is_away_is_tried_again_for_all(url: str) -> None:
    with pytest.raises(CertificateOrderFailed) as failed:
        await AcmeClient(url, KEY).order(HOST)
    assert failed.value.wait_s == 60.0
