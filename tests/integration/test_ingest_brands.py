"""Brands as records: made and changed by the API, in force in every replica within a second."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from cli.environment import Ports
from contracts.ingest.v1.directory_pb2 import Brand
from kernel.ids import uuid7_text
from tests.support.ingest import IngestHarness, Response
from tests.support.mailboxes import in_thread
from tests.support.polling import WITHIN_S
from tests.support.smtp_session import SmtpSession
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
IN_FORCE_S = 1.0
FILE = """
[default]
name = "Zenith"
slug = "zenith"
sandbox_domain = "zenith-sandbox.net"
api_hosts = ["api.zenith.example"]

[partner]
name = "Partner"
slug = "partner"
sandbox_domain = "partner-sandbox.net"
smtp_host = "smtp.partner.example"
"""


def acme(mark: str) -> dict[str, Any]:
    """mark: of its hosts, since the tests share a database."""
    return {
        "name": "Acme",
        "slug": "acme",
        "sandbox_domain": "acme-sandbox.net",
        "api_hosts": [f"api.{mark}.example"],
        "smtp_host": f"smtp.{mark}.example",
    }


def with_file(harness: IngestHarness) -> None:
    path = harness.folder / "brands.toml"
    harness.folder.mkdir(exist_ok=True)
    path.write_text(FILE)
    harness.extra |= {"brands_file": str(path), "bounce_mx": "mx.zenith.example"}


async def call_at(
    harness: IngestHarness, host: str, path: str = "/v1/none", *, port: int | None = None,
    key: str = "",
) -> Response:  # fmt: skip
    return await harness.request("GET", path, key=key, headers={"Host": host}, port=port)


async def seconds_until(read: Callable[[], Awaitable[str]], value: str) -> float:
    """When, after now, the last attempt began that read another value. Measured at its beginning,
    so that a busy machine does not count."""
    began_s, last_s = time.monotonic(), 0.0
    while True:
        at_s = time.monotonic() - began_s
        if await read() == value:
            return last_s
        assert at_s < WITHIN_S
        last_s = at_s
        await asyncio.sleep(0.02)


async def test_a_brand_is_made_changed_and_removed(harness: IngestHarness) -> None:
    with_file(harness)
    async with harness.running():
        operator = await harness.operator_key()
        made = await harness.make("/v1/brands", operator, **acme("acme-made"))
        assert made["problem_type"] == "urn:acme:problem:"
        assert (made["source"], made["user_agent"], made["docs_host"]) == ("api", "ACME", None)
        path = f"/v1/brands/{made['id']}"
        assert (await harness.request("GET", path, key=operator)).json == made
        listed = (await harness.request("GET", "/v1/brands", key=operator)).json["data"]
        assert [one["id"] for one in listed][:3] == ["partner", "default", made["id"]]
        page = await harness.request("GET", "/v1/brands?limit=1&after=partner", key=operator)
        assert (page.json["data"][0]["id"], page.json["has_more"]) == ("default", True)

        changes = {"api_hosts": ["api2.acme-made.example"], "docs_host": "docs.acme-made.example"}
        changed = await harness.request("PATCH", path, changes, key=operator)
        assert changed.json == {**made, **changes}
        problem = await call_at(harness, "docs.acme-made.example")
        assert problem.json["type"] == "urn:acme:problem:not_found"
        document = (await call_at(harness, "docs.acme-made.example", "/openapi.json")).json
        assert document["externalDocs"] == {"url": "https://docs.acme-made.example/docs"}
        assert document["servers"] == [{"url": "https://api2.acme-made.example"}]
        assert (await call_at(harness, "api.acme-made.example")).status == 421

        gone = await harness.request("DELETE", path, key=operator)
        assert gone.json == {"object": "brand", "id": made["id"], "deleted": True}
        assert (await harness.request("GET", path, key=operator)).status == 404
        assert (await call_at(harness, "api2.acme-made.example")).status == 421

        entries = (await harness.request("GET", "/v1/audit?resource=brand", key=operator)).json
        actions = [one["action"] for one in entries["data"]]
        assert actions == ["brand.delete", "brand.update", "brand.create"]
        assert entries["data"][1]["before"]["api_hosts"] == ["api.acme-made.example"]
        assert entries["data"][1]["after"]["api_hosts"] == ["api2.acme-made.example"]


async def test_a_host_belongs_to_one_brand(harness: IngestHarness) -> None:
    with_file(harness)
    async with harness.running():
        operator = await harness.operator_key()
        made = await harness.make("/v1/brands", operator, **acme("acme-hosts"))
        other = {
            **acme("acme-hosts"),
            "api_hosts": ["a.example", "api.acme-hosts.example"],
            "smtp_host": "",
        }
        for given, pointers in (
            (other, ["#/api_hosts/1"]),
            ({**other, "api_hosts": [], "docs_host": "smtp.acme-hosts.example"}, ["#/docs_host"]),
            ({**other, "api_hosts": ["smtp.partner.example"]}, ["#/api_hosts/0"]),
            (
                {**other, "tracking_host": "api.zenith.example"},
                ["#/api_hosts/1", "#/tracking_host"],
            ),
        ):
            refused = await harness.request("POST", "/v1/brands", given, key=operator)
            assert (refused.status, refused.json["name"]) == (409, "already_exists")
            assert [one["pointer"] for one in refused.json["errors"]] == pointers
        second = await harness.make("/v1/brands", operator, **{**other, "api_hosts": []})
        hosts = {"api_hosts": ["api.acme-hosts.example"]}
        path = f"/v1/brands/{second['id']}"
        assert (await harness.request("PATCH", path, hosts, key=operator)).status == 409
        await harness.request("DELETE", f"/v1/brands/{made['id']}", key=operator)
        assert (await harness.request("PATCH", path, hosts, key=operator)).status == 200


async def test_a_wrong_field_is_refused_with_its_pointer(harness: IngestHarness) -> None:
    async with harness.running():
        operator = await harness.operator_key()
        wrong: list[tuple[dict[str, object], str]] = [
            ({"slug": "Acme"}, "#/slug"),
            ({"slug": "a"}, "#/slug"),
            ({"slug": "acme\n"}, "#/slug"),
            ({"name": ""}, "#/name"),
            ({"sandbox_domain": "sandbox"}, "#/sandbox_domain"),
            ({"sandbox_domain": "co.uk"}, "#/sandbox_domain"),
            ({"sandbox_domain": "gmail.com"}, "#/sandbox_domain"),
            ({"smtp_host": "no host"}, "#/smtp_host"),
            ({"spf_include": "_x.acme-wrong.example"}, "#/spf_include"),
            ({"api_hosts": ["api.acme-wrong.example", "UPPER.example"]}, "#/api_hosts/1"),
            ({"user_agent": "two words"}, "#/user_agent"),
            ({"selector_prefix": "-a"}, "#/selector_prefix"),
            ({"colour": "red"}, "#/colour"),
            ({"color": "red"}, "#/color"),
            ({"color": "#0A66C2"}, "#/color"),
            ({"color": "#0a66c2;}"}, "#/color"),
            ({"logo_url": "http://acme-wrong.example/logo.png"}, "#/logo_url"),
            ({"logo_url": 'https://acme-wrong.example/"><script>'}, "#/logo_url"),
        ]
        for fields, pointer in wrong:
            given = {**acme("acme-wrong"), **fields}
            refused = await harness.request("POST", "/v1/brands", given, key=operator)
            assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, pointer)
        looks = {"color": "#0a66c2", "logo_url": "https://img.acme.example/logo.svg?v=2"}
        made = await harness.make("/v1/brands", operator, **acme("acme-wrong"), **looks)
        assert looks.items() <= made.items()
        for name in ("co.jp", "outlook.com", "yahoo.co.uk"):
            change = {"sandbox_domain": name}
            path = f"/v1/brands/{made['id']}"
            refused = await harness.request("PATCH", path, change, key=operator)
            assert (refused.status, refused.json["errors"][0]["pointer"]) == (
                422, "#/sandbox_domain",
            )  # fmt: skip
            assert "Use a domain of yours" in refused.json["detail"]


async def test_an_account_names_a_brand_and_reads_no_other(harness: IngestHarness) -> None:
    with_file(harness)
    async with harness.running():
        operator = await harness.operator_key()
        own_brand = await harness.make("/v1/brands", operator, **acme("acme-account"))
        path = f"/v1/brands/{own_brand['id']}"
        account, key = await harness.make_account(operator, "One")
        assert key.startswith("zenith_live_")  # called by an address, which is of no brand
        assert (await harness.request("GET", "/v1/brands/default", key=key)).status == 200
        assert (await harness.request("GET", path, key=key)).status == 404
        of_account = f"/v1/accounts/{account['id']}"
        for unknown in ("acme", account["id"], "x" * 40):
            refused = await harness.request("PATCH", of_account, {"brand": unknown}, key=operator)
            assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/brand")
        await harness.request("PATCH", of_account, {"brand": own_brand["id"]}, key=operator)
        assert (await harness.request("GET", path, key=key)).json == own_brand
        missing = await harness.request("GET", "/v1/brands/default", key=key)
        assert missing.status == 404
        assert (await harness.request("GET", "/v1/brands", key=key)).status == 403
        own = await harness.make("/v1/api-keys", key, name="k")
        assert own["token"].startswith("acme_live_")

        refused = await harness.request("DELETE", path, key=operator)
        assert (refused.status, refused.json["name"]) == (409, "brand_in_use")
        for of_file in ("default", "partner"):
            refused = await harness.request("DELETE", f"/v1/brands/{of_file}", key=operator)
            assert (refused.status, refused.json["name"]) == (409, "brand_in_file")
        await harness.request("PATCH", of_account, {"brand": "partner"}, key=operator)
        assert (await harness.request("DELETE", path, key=operator)).status == 200
        refused = await harness.request(
            "PATCH", of_account, {"brand": own_brand["id"]}, key=operator
        )
        assert refused.status == 422
        # a key keeps its prefix, and works
        assert (await harness.request("GET", "/v1/domains", key=own["token"])).status == 200


async def test_a_change_is_in_force_in_every_replica_within_a_second(
    harness: IngestHarness,
) -> None:
    with_file(harness)
    harness.serve_submission()
    harness.extra["submission_hostname"] = "mail.neutral.example"
    other = Ports.find_free()
    async with harness.running(other):
        operator = await harness.operator_key()
        for _ in range(3):
            took_s = [one async for one in times_of_changes(harness, other, operator)]
            assert max(took_s) < IN_FORCE_S, took_s


async def times_of_changes(
    harness: IngestHarness, other: Ports, operator: str
) -> AsyncIterator[float]:
    """How long changes of a brand take to be in force at another replica."""

    async def type_at_host() -> str:
        seen = await call_at(harness, "api.acme-force.example", port=other.ingest_http)
        return str(seen.json["type"])

    made = await harness.make("/v1/brands", operator, **acme("acme-force"))
    # a host that is not known yet is looked up, as a key is
    assert await type_at_host() == "urn:acme:problem:not_found"
    path = f"/v1/brands/{made['id']}"
    assert await greeting(harness, other, "smtp.acme-force.example") == "smtp.acme-force.example"
    changes = {"problem_type": "https://acme.example/", "smtp_host": "smtp2.acme-force.example"}
    await harness.request("PATCH", path, changes, key=operator)
    yield await seconds_until(type_at_host, "https://acme.example/not_found")
    assert await greeting(harness, other, "smtp2.acme-force.example") == changes["smtp_host"]
    await harness.request("PATCH", path, {"problem_type": ""}, key=operator)
    yield await seconds_until(type_at_host, "urn:acme:problem:not_found")
    await harness.request("DELETE", path, key=operator)
    yield await seconds_until(type_at_host, "urn:mail:problem:misdirected_request")
    assert await greeting(harness, other, "smtp2.acme-force.example") == "mail.neutral.example"


async def greeting(harness: IngestHarness, ports: Ports, host: str) -> str:
    """The name by which the SMTP server calls itself after a handshake that names a host."""

    def open_session() -> str:
        seen: list[tuple[str, str]] = []
        with SmtpSession(
            lambda *one: seen.append(one), ports.submission_tls, host, tls=True
        ) as session:
            return session.greeting.split()[1]

    return await in_thread(open_session)


async def test_a_refusal_of_an_unknown_host_names_no_brand(harness: IngestHarness) -> None:
    with_file(harness)
    async with harness.running():
        operator = await harness.operator_key()
        await harness.make("/v1/brands", operator, **acme("acme-host"))
        for path in ("/v1/none", "/openapi.json", "/docs", "/v1/brands"):
            refused = await call_at(harness, "elsewhere.example", path, key=operator)
            assert (refused.status, refused.json["name"]) == (421, "misdirected_request")
            assert refused.json["type"] == "urn:mail:problem:misdirected_request"
            by_address = await call_at(harness, "127.0.0.1:80", path, key=operator)
            assert by_address.status == (404 if path == "/v1/none" else 200)
            text = refused.raw + (b"" if path == "/v1/brands" else by_address.raw)
            for name in (b"zenith", b"acme-", b"partner-", b"obm"):
                assert name not in text.lower(), (path, name)
        sent = await harness.request(
            "POST", "/v1/emails", {}, key=operator, headers={"Host": "elsewhere.example"}
        )
        assert sent.status == 421


async def test_a_brand_of_a_replica_that_died_is_published_and_in_force(
    harness: IngestHarness,
) -> None:
    """It was committed, and the process ended before it published it or answered."""
    with_file(harness)
    record = Brand(
        brand_id=uuid7_text(), slug="acme", name="Acme", api_hosts=["a.acme-died.example"]
    )
    async with harness.directory() as directory:
        await directory.store.save(record)
    async with harness.running():
        seen = await call_at(harness, "a.acme-died.example")
        assert seen.json["type"] == "urn:acme:problem:not_found"
        assert record.brand_id in {one.brand_id for one in await harness.read_events(Brand)}
        operator = await harness.operator_key()
        again = {**acme("acme-died"), "api_hosts": ["a.acme-died.example"]}
        refused = await harness.request("POST", "/v1/brands", again, key=operator)
        assert refused.status == 409  # a repeated request makes no second one


async def test_of_two_brands_with_one_host_at_once_one_is_made(harness: IngestHarness) -> None:
    with_file(harness)
    other = Ports.find_free()
    async with harness.running(other):
        operator = await harness.operator_key()
        ports = (harness.ports.ingest_http, other.ingest_http)
        answers = await asyncio.gather(
            *(
                harness.request("POST", "/v1/brands", acme("acme-race"), key=operator, port=port)
                for port in ports * 5
            )
        )
        assert sorted(one.status for one in answers) == [201] + [409] * 9
