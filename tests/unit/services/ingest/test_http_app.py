"""HTTP semantics of the REST API (RFC 9110) on all routes."""

import gzip
import json
import re

import pytest

from contracts.ingest.v1.directory_pb2 import ApiKey, ApiKeyKind
from services.ingest.api.compression import accepts_gzip
from tests.support.rest_api import ID, call_api

ORIGIN = "https://app.example.net"
OF_ACCOUNT = ApiKey(account_id=ID, kind=ApiKeyKind.API_KEY_KIND_ACCOUNT)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/emails", "GET, HEAD, POST"),
        ("POST", f"/v1/emails/{ID}", "GET, HEAD, PATCH"),
        ("GET", f"/v1/emails/{ID}/cancel", "POST"),
        ("HEAD", f"/v1/emails/{ID}/cancel", "POST"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
    ],
)
def test_a_wrong_method_gets_405_with_the_allowed_methods(
    method: str, path: str, allowed: str
) -> None:
    response = call_api(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert method == "HEAD" or response.json()["name"] == "method_not_allowed"


def test_head_has_the_response_of_get() -> None:
    head, get = call_api("HEAD", "/v1/domains"), call_api("GET", "/v1/domains")
    assert head.status_code == 200
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_path_that_ends_in_a_slash_is_not_redirected() -> None:
    response = call_api("GET", "/v1/emails/")
    assert response.status_code == 404
    assert "location" not in response.headers


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/api-keys"), ("POST", "/v1/emails")])
def test_an_internal_error_has_the_usual_error_body(method: str, path: str) -> None:
    response = call_api(method, path)
    body = response.json()
    assert (response.status_code, body["name"], body["instance"]) == (
        500,
        "application_error",
        path,
    )
    assert body["request_id"] == response.headers["x-request-id"]
    assert "KeyError" not in response.text


def test_a_list_can_be_paged_towards_newer_items() -> None:
    """Newest first: the page before a cursor ends right above it."""
    pages = [
        call_api("GET", f"/v1/domains?limit=3&{side}={ID[:-2]}10") for side in ("before", "after")
    ]
    names = [[one["name"] for one in page.json()["data"]] for page in pages]
    assert names == [[f"d{n}.example" for n in (13, 12, 11)], [f"d{n}.example" for n in (9, 8, 7)]]
    assert [page.json()["has_more"] for page in pages] == [True, True]


def test_a_list_refuses_after_together_with_before() -> None:
    response = call_api("GET", f"/v1/domains?after={ID}&before={ID}")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (
        422,
        "#/query/before",
    )


@pytest.mark.parametrize(
    "path", [f"/v1/emails/{ID}/events", "/v1/queues", f"/v1/webhooks/{ID}/events"]
)
def test_a_forward_only_list_refuses_before(path: str) -> None:
    """If `before` were ignored, the client would get the same page for ever."""
    response = call_api("GET", f"{path}?before={ID}")
    fault = response.json()["errors"][0]
    assert (response.status_code, fault["pointer"]) == (422, "#/query/before")
    assert fault["code"] == "unknown_field"


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/suppressions", "/v1/api-keys"])
def test_a_compressed_body_gets_415(path: str) -> None:
    fields = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = call_api("POST", path, fields, content=gzip.compress(b"{}"))
    assert (response.status_code, response.json()["name"]) == (415, "unsupported_content_encoding")
    assert response.headers["accept-encoding"] == "identity"


def test_a_list_is_compressed_if_the_client_accepts_gzip() -> None:
    plain = call_api("GET", "/v1/domains", {"Accept-Encoding": "identity"})
    packed = call_api("GET", "/v1/domains", {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == (
        "gzip",
        "accept-encoding",
    )
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < len(plain.content) / 2


def test_a_short_response_is_not_compressed() -> None:
    response = call_api("GET", "/v1/nothing", {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers
    assert json.loads(response.content)["name"] == "not_found"


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        ("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=1.0", True),
        ("GZIP ; q=0.001", True), ("", False), ("br", False), ("gzip;q=0", False),
        ("gzip; q=0.000", False),
    ],
)  # fmt: skip
def test_gzip_is_used_only_if_it_is_acceptable(accept: str, takes: bool) -> None:
    assert accepts_gzip(accept) is takes


def test_scripts_of_other_origins_cannot_call_by_default() -> None:
    response = call_api("GET", "/v1/domains", {"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_scripts_of_an_allowed_origin_can_call() -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": "authorization, idempotency-key"}  # fmt: skip
    before = call_api("OPTIONS", "/v1/emails", preflight, origins=ORIGIN)
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "idempotency-key" in before.headers["access-control-allow-headers"]
    response = call_api("GET", "/v1/domains", {"Origin": ORIGIN}, origins=ORIGIN)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in response.headers["access-control-expose-headers"]
    other = call_api("GET", "/v1/domains", {"Origin": "https://evil.example"}, origins=ORIGIN)
    assert "access-control-allow-origin" not in other.headers


def test_the_reference_loads_no_script_from_another_host() -> None:
    page = call_api("GET", "/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for path in loaded:
        assert path.startswith("/docs/files/")
        assert call_api("GET", path).status_code == 200
    assert call_api("GET", "/docs/files/nothing.js").json()["name"] == "not_found"


@pytest.mark.parametrize("path", ["/v1/webhooks", "/v1/api-keys", f"/v1/webhooks/{ID}/test"])
def test_an_idempotency_key_is_refused_on_routes_that_do_not_support_it(path: str) -> None:
    """A repeat would create a second webhook or key."""
    response = call_api("POST", path, {"idempotency-key": "once"}, content=b'{"name": "mine"}')
    assert (response.status_code, response.json()["name"]) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize(
    ("query", "forced"),
    [("", False), ("?force", True), ("?force=", True), ("?force=true", True), ("?force=0", False)],
)
def test_a_flag_without_a_value_is_set(query: str, forced: bool) -> None:
    response = call_api("DELETE", f"/v1/domains/{ID}{query}")
    assert response.status_code == (200 if forced else 409)


@pytest.mark.parametrize("name", ["a\u202eb", "a\u2066b", "a\x85b", "a\nb", "a\n", "\x00"])
def test_a_name_that_disguises_itself_is_refused(name: str) -> None:
    body = json.dumps({"name": name}).encode()
    response = call_api("POST", "/v1/tenants", content=body, key=OF_ACCOUNT)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "#/name")


@pytest.mark.parametrize("query", ["tag=a%00", "tag=a%00&tag=b", "tag=a&tag=b%00"])
def test_nul_in_any_value_of_a_repeated_parameter_is_refused(query: str) -> None:
    response = call_api("GET", f"/v1/emails/metrics?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["code"] == "invalid"
