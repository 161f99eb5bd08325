"""No answer in the name of one brand has a name of another."""

import json
from typing import Any, cast

import httpx
import pytest

from kernel.brand import Brand, Brands
from kernel.errors import Unavailable
from kernel.http_server import Send
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.grpc.base import status_of
from services.ingest.api.http import send_response
from services.ingest.api.http_app import HttpApp
from services.ingest.api.request_log import RequestRecorder
from services.ingest.domain.problem import Problem
from services.ingest.domain.reserved import SpecialUseDomains
from tests.support.rest_api import ACME_SANDBOX, brands, call_api

HOST = {"host": "api.acme.test", "authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/v1/none"),
        ("DELETE", "/v1/emails"),
        ("GET", "/v1/emails?limit=x"),
        ("POST", "/v1/emails"),
        ("POST", "/v1/emails/batch"),
    ],
)
def test_answers_have_the_names_of_the_brand(method: str, path: str) -> None:
    response = call_api(method, path, HOST, content=b"{" if method == "POST" else None)
    text = f"{response.headers}{response.text}".lower()
    assert "obm" not in text
    assert "acme" in text


def test_the_same_answers_have_other_names_at_another_host() -> None:
    assert call_api("GET", "/v1/none").json()["type"] == "urn:obm:problem:not_found"
    document = call_api("GET", "/openapi.json").json()
    assert document["info"]["title"] == "OBM Engine"
    assert ACME_SANDBOX not in json.dumps(document)


def test_the_document_of_a_brand_names_its_host_and_sandbox() -> None:
    document = call_api("GET", "/openapi.json", HOST).json()
    assert document["servers"] == [{"url": "https://api.acme.test"}]
    assert f"delivered@{ACME_SANDBOX}" in json.dumps(document)


def test_an_error_over_grpc_has_the_domain_of_the_brand() -> None:
    status = status_of(Problem(404, "not_found", detail="none"), domain="acme")
    assert b"acme" in status.SerializeToString()
    assert b"obm" not in status.SerializeToString()


def test_the_sandbox_domains_of_all_brands_accept_test_mail_only() -> None:
    domains = SpecialUseDomains(sandbox=brands().sandbox_domains)
    assert domains.is_sandbox(f"hello.{ACME_SANDBOX}")
    assert domains.is_sandbox(Brand().sandbox_domain)
    assert not domains.is_sandbox("acme.test")


class Replica:
    """The HTTP application of an installation whose hosts are known, and what it reads next."""

    def __init__(self, record: Brand | None = None, *, is_away: bool = False) -> None:
        self.reads = self.forwarded = 0
        self._record, self._is_away = record, is_away
        self._brands = Brands(
            {"default": Brand("Zenith", "zenith", api_hosts=("api.zenith.test",))}
        )
        brands = BrandResolver(self._brands, lambda _: None, self._refresh)
        nothing: Any = None
        self.app = HttpApp(
            nothing, nothing, self._rest, brands=brands, recorder=RequestRecorder(nothing)
        )

    async def _refresh(self) -> None:
        self.reads += 1
        if self._is_away:
            raise Unavailable("the directory")
        if self._record is not None:
            self._brands.put("1", self._record)

    async def _rest(self, _: object, __: object, send: Send) -> None:
        self.forwarded += 1
        await send_response(send, 204, b"", headers=[])

    async def call(self, host: str, method: str = "GET") -> httpx.Response:
        transport = httpx.ASGITransport(cast(Any, self.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, "/v1/domains", headers={"host": host})


async def test_a_host_that_no_brand_has_is_refused_in_neutral_names() -> None:
    replica = Replica(Brand("Acme", "acme", api_hosts=("api.acme.test",)))
    for method in ("GET", "POST", "HEAD"):
        refused = await replica.call("elsewhere.test", method)
        assert (refused.status_code, replica.forwarded) == (421, 0)
        assert "zenith" not in f"{refused.headers}{refused.text}".lower()
    problem = (await replica.call("elsewhere.test")).json()
    assert problem["type"] == "urn:mail:problem:misdirected_request"


async def test_a_new_host_is_looked_up_once() -> None:
    replica = Replica(Brand("Acme", "acme", api_hosts=("api.acme.test",)))
    for _ in range(3):
        assert (await replica.call("api.acme.test")).status_code == 204
    for host in ("api.zenith.test", "localhost", "127.0.0.1:8025"):
        assert (await replica.call(host)).status_code == 204
    assert replica.reads == 1


async def test_an_unknown_host_is_not_refused_while_the_directory_is_away() -> None:
    """It may be that of a new brand."""
    replica = Replica(is_away=True)
    answer = await replica.call("api.acme.test")
    assert (answer.status_code, answer.json()["name"]) == (503, "service_unavailable")
    assert (await replica.call("api.zenith.test")).status_code == 204
