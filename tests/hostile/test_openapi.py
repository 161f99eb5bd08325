"""The API conforms to its OpenAPI document: examples are accepted, responses match their schemas.

schemathesis generates valid and invalid requests: the former must be accepted, the latter refused,
and every response must be described.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.core.cache.bounded import BoundedCache
from schemathesis.generation.coverage import DEFAULT_GENERATION_SESSION
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from services.ingest.api.openapi import JSON, operations
from services.ingest.api.operations import EXAMPLE_EMAIL
from tests.support.accounts import create_account, keys_of_callers
from tests.support.engine import Engine
from tests.support.rest_api import call_api

Authorized: TypeAlias = Callable[[str], dict[str, str]]

DOMAIN = "store.example.net"  # among the document's examples
EXAMPLES = 4
REPORTS = {"/v1/domains/{domain_id}/dmarc", "/v1/domains/{domain_id}/tls-reports"}
UNKNOWN_HERE = (
    "domain_id", "expires_at", "until", "account_id", "tenant_id", "tenant_ids", "brand",
    "overflow_pool_id", "feedback_domain_id",
    "warmup", "dedicated", "weight", "pool_id", "egress_id", "site", "ramp", "track_opens",
    "track_clicks", "tracking_mode", "list_unsubscribe", "open_tracking", "click_tracking",
    "domain_ids", "headers", "since", "filter", "query", "deliver", "plan",
)  # fmt: skip
# To schemathesis an empty text is a host name that is none, whatever else the field may be.
MAY_BE_EMPTY = (
    "bounce_mx", "spf_include", "dkim_zone", "smtp_host", "docs_host", "tracking_host",
    "unsubscribe_host", "ehlo",
)  # fmt: skip
# Paths that other methods read as the id of an email, a mailbox or a suppression.
LIKE_IDS = {
    "/v1/emails/batch", "/v1/emails/events", "/v1/emails/metrics", "/v1/mailboxes/batch",
    "/v1/suppressions/export", "/v1/suppressions/imports",
}  # fmt: skip
CREATED = {
    "accounts": "{account_id}",
    "tenants": "{tenant_id}",
    "api-keys": "{key_id}",
    "mailboxes": "{mailbox_id}",
    "brands": "{brand_id}",
    "ips": "{ip_id}",
    "overrides": "{override_id}",
    "webhooks": "{webhook_id}",
    "pools": "{pool_id}",
}

# Texts of a pattern and a length are drawn once and kept, but fewer than this document has: most of
# them would be drawn again at each operation.
for cache in ("draw_outcomes", "pattern_strategies", "values", "removed_examples"):
    setattr(DEFAULT_GENERATION_SESSION, cache, BoundedCache(maxsize=100_000))

# Of few values: a length that none of them has is given up at once, not after a thousand draws.
name = st.sampled_from(["a", "shop", "mail2"])
mailbox = st.builds("{}@{}.example.net".format, name, name)
schemathesis.openapi.format("mailbox", mailbox | st.builds("{} <{}>".format, name, mailbox))
schemathesis.openapi.format(
    "moment", st.integers(1, 30).map("in {} days".format) | st.just("tomorrow at 9am")
)
schemathesis.openapi.format("cursor", st.sampled_from([str(uuid4()), str(uuid4())]))
schemathesis.openapi.format("email", st.builds("{}@{}.example.net".format, name, name))
schemathesis.openapi.format("hostname", name.map("{}.example.com".format))
schemathesis.openapi.format("iri", name.map("https://{}.example.com/hook".format))
schemathesis.openapi.format("ip-address", st.ip_addresses(network="10.0.0.0/8").map(str))
schemathesis.openapi.format("cidr", st.ip_addresses(network="10.0.0.0/8").map("{}/24".format))


schemathesis.openapi.format("own-address", st.uuids().map(f"{{}}@{DOMAIN}".format))
schemathesis.openapi.format("domain", st.uuids().map("{}.example.net".format))
schemathesis.openapi.format("brand-host", st.uuids().map("{}.example.org".format))
schemathesis.openapi.format("filename", name.map("{}.pdf".format))
schemathesis.openapi.format("media-type", st.sampled_from(["text/plain", "application/pdf"]))
schemathesis.openapi.format("content-id", name)
MESSAGES = [
    b"From: a@%b\r\nTo: b@x.example.net\r\nSubject: Hi\r\n\r\n%b" % (DOMAIN.encode(), text)
    for text in (b"Hello\r\n", b"", b"Gr\xc3\xbc\xc3\x9fe\n.\n")
]
schemathesis.openapi.format(
    "raw-message", st.sampled_from(MESSAGES).map(lambda octets: b64encode(octets).decode())
)
schemathesis.openapi.format("base64", st.binary().map(lambda octets: b64encode(octets).decode()))


schemathesis.openapi.format(
    "suppressions",
    st.lists(st.builds("{}@{}.example.net".format, name, name), min_size=1).map("\n".join),
)


@schemathesis.serializer("text/csv")
def serialize_csv(_: object, value: object) -> bytes:
    return str(value).encode(errors="surrogatepass")


schemathesis.openapi.format("scope", st.uuids().map("tenant/{}".format))  # of nobody
schemathesis.openapi.format("time-zone", st.sampled_from(["", "UTC", "Asia/Tokyo"]))


@schemathesis.hook
def map_body(_: object, body: object) -> object:
    """In JSON Schema 41.0 is an integer, but typed decoders refuse it."""
    if isinstance(body, float) and body.is_integer():
        return int(body)
    if isinstance(body, dict):
        return {name: map_body(_, one) for name, one in body.items()}
    return [map_body(_, one) for one in body] if isinstance(body, list) else body


@pytest.fixture(scope="module")
def authorized(engine: Engine) -> Authorized:
    """The key for a path: suppressions and domains require a live key, accounts and egress sources
    the operator's."""
    test = create_account(engine.environment, DOMAIN, test=True).api_key
    live = create_account(engine.environment, "live.example.net").api_key
    keys = keys_of_callers(engine.environment)
    special = {"suppressions": live, "domains": live, "reports": live, **keys}
    special |= dict.fromkeys(("cells", "ips", "overrides", "standings"), keys["accounts"])

    def headers(path: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {special.get(path.split('/')[2], test)}"}

    return headers


document = schemathesis.openapi.from_dict(call_api("GET", "/openapi.json").json())
document.config.checks.negative_data_rejection.expected_statuses += ["413", "414", "431"]


def test_every_example_of_the_document_is_accepted(engine: Engine, authorized: Authorized) -> None:
    """In the order of the document, so that objects exist before they are used; before the
    generated requests, so that they do not exist twice."""
    with httpx.Client(base_url=engine.url.removesuffix("/v1")) as http:
        scheduled = {**EXAMPLE_EMAIL, "scheduled_at": "in 1 hour"}
        sent = http.post("/v1/emails", json=scheduled, headers=authorized("/v1/emails"))
        known: dict[str, str] = {"{email_id}": sent.json()["id"]}
        domain = http.post(
            "/v1/domains", json={"name": "new.example.net"}, headers=authorized("/v1/domains")
        )
        known["{domain_id}"] = domain.json()["id"]
        for method, path, one in operations(document.raw_schema):
            body = one.get("requestBody", {}).get("content", {}).get(JSON, {})
            if "example" in body:
                url = path
                for parameter, value in known.items():
                    url = url.replace(parameter, value)
                response = http.request(
                    method.upper(), url, json=body["example"], headers=authorized(path)
                )
                assert str(response.status_code) in one["responses"], response.text
                document[path][method.upper()].validate_response(response)
                if (created := CREATED.get(path.removeprefix("/v1/"))) is not None:
                    known[created] = response.json()["id"]


@pytest.fixture(scope="module")
def connection() -> Iterator[requests.Session]:
    """Kept alive, and without a look at the environment for proxies at each request."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def operations_of_the_api(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - schemathesis's
    request.node._nodeid = request.node.nodeid  # schemathesis reads the attribute of older versions
    return document


# From a fixture, because otherwise each worker generates the requests when it collects the tests.
# A stream never ends.
@(
    schemathesis.pytest.from_fixture("operations_of_the_api")
    .exclude(path="/v1/emails/events/stream")
    .parametrize()
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_conforms_to_its_document(
    case: Case[Any], engine: Engine, authorized: Authorized, connection: requests.Session
) -> None:
    case.call_and_validate(
        engine.url.removesuffix("/v1"),
        session=connection,
        headers=authorized(case.path),
        excluded_checks=list(beyond(case)),
        timeout=120,
    )


def beyond(case: Case[Any]) -> Iterator[Any]:
    """Constraints that the document cannot express: exclusive parameters, days of one month, the
    owner of an object, the current time, addresses that may be in a batch once, the state and the
    families of addresses of an egress source, names that headers of webhooks must not have, and
    `batch` not being an id."""
    query, body = case.query or {}, case.body if isinstance(case.body, dict) else {}
    both = query.get("after") and query.get("before")
    addresses = body.get("addresses")
    of_source = body.get("action") or (isinstance(addresses, list) and len(addresses) > 1)
    is_override = case.operation.path == "/v1/overrides"
    unknown = has_unknown(case.body) or of_source or is_override
    both = both or (query.keys() & {"since", "until"} and case.operation.path in REPORTS)
    if both or unknown or has_repeated_addresses(case.body):
        yield positive_data_acceptance
    if "" in query.values() or any(body.get(name) == "" for name in MAY_BE_EMPTY):
        yield negative_data_rejection  # an empty parameter or host counts as absent
    if case.operation.path in LIKE_IDS:
        yield from (unsupported_method, allow_header_conformance)


def has_unknown(body: object) -> bool:
    """Whether it, or an item of it, names what this installation does not have."""
    items = [one for one in (body if isinstance(body, list) else [body]) if isinstance(one, dict)]
    return any(one.get(name) or one.get(name) == {} for one in items for name in UNKNOWN_HERE)


def has_repeated_addresses(body: object) -> bool:
    """Long arrays are generated as copies of one object."""
    items = body if isinstance(body, list) else []
    given = [str(one["address"]) for one in items if isinstance(one, dict) and "address" in one]
    return len({*given}) < len(given)
