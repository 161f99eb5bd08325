"""No answer in the name of one brand has a name of another."""

import json

import pytest

from kernel.brand import Brand
from services.ingest.api.grpc.base import status_of
from services.ingest.domain.problem import Problem
from services.ingest.domain.reserved import RecipientDomains
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
    domains = RecipientDomains(sandbox=brands().sandbox_domains)
    assert domains.is_sandbox(f"hello.{ACME_SANDBOX}")
    assert domains.is_sandbox(Brand().sandbox_domain)
    assert not domains.is_sandbox("acme.test")
