"""Domains whose DKIM keys are in a zone of the installation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mail.dkim import zone_text
from tests.support.ingest import IngestHarness
from tests.support.name_server import NameServer, name_server
from tests.support.polling import until
from tests.support.stack import FreshDatabase

NAME, ZONE = "shop.customer.org", "dkim.mail-platform.org"
LISTING = f"/v1/dkim-zone?zone={ZONE}"


class Customer:
    """An account with the brand of ZONE. domain: of its tenant, as it was made."""

    domain: Any

    def __init__(self, harness: IngestHarness, server: NameServer) -> None:
        self._harness = harness
        self._server = server

    async def sign_up(self) -> None:
        make = self._harness.make
        self.operator = await self._harness.operator_key()
        brand = await make(
            "/v1/brands", self.operator, name="Aliased", slug="aliased", dkim_zone=ZONE,
            sandbox_domain="sandbox.aliased.org",
        )  # fmt: skip
        account, self.key = await self._harness.make_account(self.operator, "Aliased")
        path = f"/v1/accounts/{account['id']}"
        await self._harness.request("PATCH", path, {"brand": brand["id"]}, key=self.operator)
        self.tenant_id = (await make("/v1/tenants", self.key, name="shop"))["id"]
        self.domain = await self.call("POST", "/v1/domains", {"name": NAME})
        self.path = f"/v1/domains/{self.domain['id']}"

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        headers = {"X-Tenant-Id": self.tenant_id}
        found = await self._harness.request(method, path, body, key=self.key, headers=headers)
        assert found.status < 300, found.raw
        return found.json

    async def verified(self) -> Any:  # noqa: ANN401 - JSON
        """The domain after a check that began after this call."""
        before = (await self.call("GET", self.path))["checked_at"]
        await self.call("POST", f"{self.path}/verify")

        async def checked() -> bool:
            return bool((await self.call("GET", self.path))["checked_at"] != before)

        await until(checked)
        return await self.call("GET", self.path)

    async def zone_records(self) -> list[dict[str, Any]]:
        """Of the zone of the installation."""
        [entry] = (await self._harness.request("GET", LISTING, key=self.operator)).json["data"]
        assert (entry["id"], entry["domain"]) == (self.domain["id"], NAME)
        records: list[dict[str, Any]] = entry["records"]
        return records

    def publish(self, *records: dict[str, Any]) -> None:
        zone: dict[str, Any] = {}
        for one in records:
            value = zone_text(one["value"]) if one["type"] == "TXT" else f"{one['value']}."
            if "priority" in one:
                value = f"{one['priority']} {value}"
            zone.setdefault(one["name"], {})[one["type"]] = [value]
        self._server.records = zone


@asynccontextmanager
async def customer(harness: IngestHarness, server: NameServer) -> AsyncIterator[Customer]:
    async with harness.running():
        made = Customer(harness, server)
        await made.sign_up()
        yield made


async def test_its_records_lead_to_keys_that_the_operator_publishes_and_rotates(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> None:
    async with name_server({}) as (server, address):
        extra = {
            "bounce_mx": "mx.platform.org",
            "nameservers": [address],
            "domain_check_interval_s": 0.1,
        }
        harness = IngestHarness(bootstrap_servers, topic_prefix, database, tmp_path, extra=extra)
        async with customer(harness, server) as owner:
            records = owner.domain["records"]
            aliases = [one for one in records if one["record"] == "DKIM"]
            assert [one["type"] for one in aliases] == ["CNAME", "CNAME"]
            targets = [one["value"] for one in aliases]
            assert [one["name"] for one in await owner.zone_records()] == targets
            owner.publish(*records)
            waiting = await owner.verified()
            assert (waiting["status"], waiting["records"][0]["status"]) == ("pending", "failed")
            assert "has no key yet" in waiting["records"][0]["problem"]

            owner.publish(*records, *await owner.zone_records())
            found = await owner.verified()
            assert (found["status"], found["records"][0]["status"]) == ("verified", "verified")
            rotated = await owner.call("POST", f"{owner.path}/rotate-dkim")
            in_zone = await owner.zone_records()
            assert len(in_zone) == 4
            owner.publish(*rotated["records"], *in_zone)
            signing = (await owner.verified())["dkim_selectors"]
            assert signing == rotated["rotation"]["dkim_selectors"]

            request = harness.request
            assert (await request("GET", "/v1/dkim-zone", key=owner.operator)).status == 422
            other = await request("GET", "/v1/dkim-zone?zone=x.example", key=owner.operator)
            assert other.json["data"] == []
            assert (await request("GET", LISTING, key=owner.key)).status == 403
