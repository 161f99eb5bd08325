"""A domain's own host for links in mail: verified by DNS, used by new mail, and kept."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.events.v1.events_pb2 import CertificateChanged
from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel import clock
from tests.integration.test_ingest import content_of
from tests.integration.test_ingest_domain_checks import Start, get, publish, start, verify
from tests.support.ingest import IngestHarness, email
from tests.support.killed_ingest import run_until_killed
from tests.support.name_server import SERVFAIL, name_server
from tests.support.polling import until
from tests.support.stack import FreshDatabase

__all__ = ["start"]
NAME, HOST, TARGET = "shop.customer.org", "links.shop.customer.org", "links.own-brand.net"
BRANDS = """
[default]
name = "Own"
slug = "obm"
sandbox_domain = "obm-sandbox.net"
tracking_host = "links.own-brand.net"
unsubscribe_host = "leave.own-brand.net"
"""


@pytest.fixture
def brands(tmp_path: Path) -> str:
    path = tmp_path / "brands.toml"
    path.write_text(BRANDS)
    return str(path)


def of_links(found: Any) -> Any:  # noqa: ANN401 - JSON
    [record] = [one for one in found["records"] if one["record"] == "Tracking"]
    return record


async def frozen_hosts(harness: IngestHarness, name: str = NAME) -> tuple[str, str]:
    """Of links and of pages to unsubscribe, in a broadcast that is accepted now."""
    live = {"from": f"a@{name}", "to": "ann@recipient.org", "stream": "broadcast"}
    sent = await harness.request("POST", "/v1/emails", email(**live))
    assert sent.status == 202, sent.json
    [accepted] = await harness.accepted(sent.json["id"])
    content: Content = await content_of(harness, accepted)
    return content.tracking.host, content.unsubscribe.host


async def known_hosts(harness: IngestHarness) -> list[tuple[str, str, bool]]:
    """Of the newest record of each."""
    newest = {one.tracking_host_id: one for one in await harness.read_events(TrackingHost)}
    return [(one.host, one.target, one.active) for one in newest.values()]


async def until_known(harness: IngestHarness, *wanted: tuple[str, str, bool]) -> None:
    async def known() -> bool:
        return {*wanted} <= {*await known_hosts(harness)}  # the database has those of other tests

    await until(known)


async def create_with_host(harness: IngestHarness) -> Any:  # noqa: ANN401 - JSON
    new = {"name": NAME, "click_tracking": True, "tracking_subdomain": "Links"}
    made = (await harness.request("POST", "/v1/domains", new)).json
    assert made["tracking_subdomain"] == "links"
    record = of_links(made)
    assert (record["name"], record["type"], record["value"]) == (HOST, "CNAME", TARGET)
    assert (record["status"], record["required"]) == ("not_started", False)
    return made


async def test_links_lead_over_the_domains_own_host_while_dns_has_it(
    start: Start, brands: str
) -> None:
    async with name_server({}) as (server, address):
        harness = start(address)
        harness.extra["brands_file"] = brands
        async with harness.running():
            await harness.sign_up(test=False)
            made = await create_with_host(harness)
            record = of_links(made)
            publish(server, [one for one in made["records"] if one != record])
            found = await verify(harness, made["id"])
            assert (found["status"], of_links(found)["status"]) == ("verified", "pending")
            assert await frozen_hosts(harness) == (TARGET, "leave.own-brand.net")

            publish(server, made["records"])
            right = of_links(await verify(harness, made["id"]))
            assert (right["status"], right["problem"]) == ("verified", "")
            assert await frozen_hosts(harness) == (HOST, HOST)
            await until_known(harness, (HOST, TARGET, True))

            server.records = {**server.records, HOST: SERVFAIL}
            unknown = of_links(await verify(harness, made["id"]))
            assert unknown["status"] == "temporary_failure"
            assert await frozen_hosts(harness) == (HOST, HOST)

            server.records = {**server.records, HOST: {"CNAME": ["parked.example."]}}
            wrong = of_links(await verify(harness, made["id"]))
            assert (wrong["status"], "parked.example" in wrong["problem"]) == ("failed", True)
            assert await frozen_hosts(harness) == (TARGET, "leave.own-brand.net")
            await until_known(harness, (HOST, TARGET, False))

            other = await change(harness, made["id"], tracking_subdomain="t")
            publish(server, other["records"])
            await verify(harness, made["id"])
            assert await frozen_hosts(harness) == (f"t.{NAME}", f"t.{NAME}")
            await change(harness, made["id"], tracking_subdomain="")
            assert await frozen_hosts(harness) == (TARGET, "leave.own-brand.net")
            await until_known(harness, (HOST, TARGET, False), (f"t.{NAME}", TARGET, True))


async def test_with_an_authority_a_host_is_used_once_it_is_certified(
    start: Start, brands: str
) -> None:
    name = "certified.customer.org"
    host = f"links.{name}"
    async with name_server({host: {"CNAME": [f"{TARGET}."]}}) as (server, address):
        harness = start(address)
        harness.extra |= {"brands_file": brands, "acme_directory": "https://ca.example/dir"}
        async with harness.running():
            await harness.sign_up(test=False)
            new = {"name": name, "click_tracking": True, "tracking_subdomain": "links"}
            made = (await harness.request("POST", "/v1/domains", new)).json
            publish(server, made["records"])
            found = await verify(harness, made["id"])
            assert of_links(found)["status"] == "verified"
            assert found["tracking_certificate"] == {
                "status": "pending", "problem": "", "expires_at": None, "retry_at": None,
            }  # fmt: skip
            assert await frozen_hosts(harness, name) == (TARGET, "leave.own-brand.net")

            failed = CertificateChanged(host=host, version=1, problem="caa: forbidden")
            failed.retry_at.FromDatetime(clock.now())
            await harness.publish(failed)
            await until_certificate(harness, made["id"], "failed")
            found = (await get(harness, made["id"]))["tracking_certificate"]
            assert (found["problem"], found["retry_at"] is None) == ("caa: forbidden", False)
            await harness.publish(
                CertificateChanged(host=host, version=2, problem="other.example", forbidden=True)
            )
            await until_certificate(harness, made["id"], "forbidden")
            issued = CertificateChanged(host=host, version=3)
            issued.expires_at.FromDatetime(clock.now() + timedelta(days=90))
            await harness.publish(
                issued, failed, CertificateChanged(host="none.example", version=9)
            )
            await until_certificate(harness, made["id"], "issued")
            assert await frozen_hosts(harness, name) == (host, host)
            await verify(harness, made["id"])
            assert await frozen_hosts(harness, name) == (host, host), "a check keeps it"


async def until_certificate(harness: IngestHarness, domain_id: str, status: str) -> None:
    async def reached() -> bool:
        found = await get(harness, domain_id)
        return bool(found["tracking_certificate"]["status"] == status)

    await until(reached)


async def change(harness: IngestHarness, domain_id: str, **fields: object) -> Any:  # noqa: ANN401
    changed = await harness.request("PATCH", f"/v1/domains/{domain_id}", fields)
    assert changed.status == 200, changed.json
    return changed.json


async def test_a_domain_that_is_vouched_for_has_its_host_checked_too(
    start: Start, brands: str
) -> None:
    async with name_server({HOST: {"CNAME": [f"{TARGET}."]}}) as (_, address):
        harness = start(address)
        harness.extra["brands_file"] = brands
        async with harness.running():
            await harness.sign_up(test=False)
            operator = await harness.operator_key()
            new = {
                "name": NAME,
                "vouched": True,
                "click_tracking": True,
                "tracking_subdomain": "links",
            }
            path = "/v1/domains"
            owner = {"X-Tenant-Id": harness.tenant_id}
            made = await harness.request("POST", path, new, key=operator, headers=owner)
            assert made.json["next_check_at"] is not None
            await verify(harness, made.json["id"])
            found = await get(harness, made.json["id"])
            assert (found["status"], of_links(found)["status"]) == ("verified", "verified")
            assert found["next_check_at"] is not None
            assert await frozen_hosts(harness) == (HOST, HOST)


async def test_a_label_that_cannot_be_a_tracking_host_is_refused(start: Start, brands: str) -> None:
    async with name_server({}) as (_, address):
        harness = start(address)
        harness.extra["brands_file"] = brands
        async with harness.running():
            await harness.sign_up(test=False)
            for label in ("bounce", "a.b", "-a", "x" * 64):
                new = {"name": NAME, "tracking_subdomain": label}
                refused = await harness.request("POST", "/v1/domains", new)
                assert refused.status == 422, label
                [error] = refused.json["errors"]
                assert (error["pointer"], error["code"]) == ("#/tracking_subdomain", "invalid")


async def test_without_a_host_of_the_brand_and_for_ever_new_hosts_it_is_refused(
    start: Start, brands: str
) -> None:
    async with name_server({}) as (server, address):
        harness = start(address)
        async with harness.running():
            await harness.sign_up(test=False)
            new = {"name": NAME, "tracking_subdomain": "links"}
            refused = await harness.request("POST", "/v1/domains", new)
            assert (refused.status, refused.json["name"]) == (422, "tracking_not_allowed")
        harness.extra |= {"brands_file": brands, "tenant_domains_max": 2}
        async with harness.running():
            made = (await harness.request("POST", "/v1/domains", {"name": NAME})).json
            for number in range(4):
                changed = await change(harness, made["id"], tracking_subdomain=f"t{number}")
                publish(server, [of_links(changed)])
                await verify(harness, made["id"])
            path, more = f"/v1/domains/{made['id']}", {"tracking_subdomain": "t4"}
            refused = await harness.request("PATCH", path, more)
            assert (refused.status, refused.json["errors"][0]["pointer"]) == (
                422, "#/tracking_subdomain",
            )  # fmt: skip
            await change(harness, made["id"], tracking_subdomain="")


@pytest.mark.parametrize("place", ["written", "in_transaction", "committed"])
async def test_a_process_that_dies_when_a_host_is_verified_leaves_nothing_half_done(
    start: Start, brands: str, place: str, database: FreshDatabase
) -> None:
    name = f"{place.replace('_', '-')}.customer.org"
    host = f"links.{name}"
    async with name_server({host: {"CNAME": [f"{TARGET}."]}}) as (_, address):
        harness = start(address)
        harness.extra |= {"brands_file": brands, "lease_s": 1.0}  # the killed process has it
        async with harness.running():
            await harness.sign_up(test=False)
            new = {"name": name, "tracking_subdomain": "links"}
            made = (await harness.request("POST", "/v1/domains", new)).json
        with database.connect() as connection:
            connection.execute(
                "UPDATE ingest.domain_checks SET due_at = now() WHERE domain_id = %s", (made["id"],)
            )
        await run_until_killed(harness.settings(), f"ingest.domain.{place}=kill")
        async with harness.running():
            await until_known(harness, (host, TARGET, True))
            assert of_links(await get(harness, made["id"]))["status"] == "verified"
