"""A block list has an IP: its mail leaves by the others of the pool, its owner is informed, and it
is used again once the list no longer has it. Another one has a domain: its owner is informed."""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.accounts import create_account, keys_of_callers
from tests.support.engine import Engine, engine_of
from tests.support.name_server import NameServer, name_server
from tests.support.receiver import Receiver, receiving
from tests.support.smtp_peer import SmtpPeer
from tests.support.stack import FreshDatabase

DOMAIN = "florist-lab.net"
FIRST, SECOND = "127.0.0.81", "127.0.0.82"
WITHIN_S = 240.0
ROUTE = """
[[route]]
domain = "*"
mx_hosts = ["{address}"]
"""
BLOCKLISTS = """
[[list]]
name = "zen"
zone = "zen.example"
kinds = ["ipv4"]
terms = "The test's."
[list.answers]
"127.0.0.2" = { weight = 8.0, meaning = "a source of spam" }
[[list]]
name = "multi"
zone = "multi.example"
kinds = ["domain"]
terms = "The test's."
[list.bits]
8 = { weight = 8.0, meaning = "a phishing site" }
"""
LISTED_NAME = f"{DOMAIN}.multi.example"
LISTED = {"A": ["127.0.0.2"], "TXT": ['"see https://zen.example/"']}


class World:
    """An account whose tenant has the two addresses for itself, and an endpoint of it."""

    def __init__(self, engine: Engine, api: httpx.AsyncClient, peer: SmtpPeer) -> None:
        self.api, self.peer = api, peer
        self.account = create_account(engine.environment, DOMAIN)
        self._operator = keys_of_callers(engine.environment)["pools"]
        self.ids: dict[str, str] = {}

    async def operate(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        headers = {"Authorization": f"Bearer {self._operator}"}
        answer = await self.api.request(method, path, headers=headers, **more)
        return answer.raise_for_status().json()

    async def call(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        headers = {"Authorization": f"Bearer {self.account.api_key}"}
        answer = await self.api.request(method, path, headers=headers, **more)
        return answer.raise_for_status().json()

    async def set_up(self, receiver: Receiver) -> None:
        pool = (await self.operate("POST", "/pools", json={"name": "florist"}))["id"]
        for address in (FIRST, SECOND):
            source = {"addresses": [address], "pool_id": pool, "ehlo": "out.florist-lab.net"}
            self.ids[address] = (await self.operate("POST", "/ips", json=source))["id"]
        tenant = f"/tenants/{self.account.tenant_id}"
        await self.operate("PATCH", tenant, json={"pool_id": pool})
        events = ["ip.listed", "ip.delisted", "domain.listed", "domain.delisted"]
        await self.call(
            "POST", "/webhooks", json={"endpoint": receiver.url + "/hook", "events": events}
        )

    async def send(self, names: Sequence[str]) -> list[str]:
        emails = [
            {"from": f"a@{DOMAIN}", "to": f"{one}@patient-lab.net", "subject": "Hi", "text": "Hi"}
            for one in names
        ]
        return [(await self.call("POST", "/emails", json=one))["id"] for one in emails]

    async def send_some(self) -> list[str]:
        """Their recipients."""
        names = [uuid.uuid4().hex for _ in range(2)]
        await self.send(names)
        return names

    async def sources_of(self, names: Sequence[str]) -> set[str]:
        """The addresses from which mail to these recipients has arrived."""
        wanted = {f"{one}@patient-lab.net" for one in names}
        async with asyncio.timeout(WITHIN_S):
            while not wanted <= {one.rcpt_to for one in self.peer.messages}:
                await asyncio.sleep(0.1)
        connections = {one.number: one.source for one in self.peer.connections}
        found = [one for one in self.peer.messages if one.rcpt_to in wanted]
        return {connections[one.connection] for one in found}

    async def wait_for_state(self, address: str, state: str) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_S):
            while True:
                source: dict[str, Any] = await self.operate("GET", f"/ips/{self.ids[address]}")
                if source["state"] == state:
                    return source
                await asyncio.sleep(0.1)


async def received(receiver: Receiver, kind: str, egress_id: str) -> dict[str, Any]:
    """The data of an event of a source, once it has arrived."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            for one in receiver.at("/hook"):
                if one.json["type"] == kind and one.json["data"]["id"] == egress_id:
                    return dict(one.json["data"])
            await asyncio.sleep(0.1)


async def drain_and_restore(world: World, dns: NameServer, receiver: Receiver) -> None:
    records: Any = dns.records
    await world.set_up(receiver)
    while not await world.sources_of(await world.send_some()) & {FIRST, SECOND}:
        pass  # until the router knows whose pool it is
    records["81.0.0.127.zen.example"] = LISTED
    data = await received(receiver, "ip.listed", world.ids[FIRST])
    assert (data["blocklist"], data["address"], data["codes"], data["suspends"]) == (
        "zen", FIRST, ["127.0.0.2"], True,
    )  # fmt: skip
    assert (data["meaning"], data["text"]) == ("a source of spam", "see https://zen.example/")
    shown = await world.wait_for_state(FIRST, "suspended")
    assert [one["blocklist"] for one in shown["dnsbl"]] == ["zen"]
    assert await world.sources_of(await world.send_some()) == {SECOND}

    records["82.0.0.127.zen.example"] = LISTED
    await world.wait_for_state(SECOND, "suspended")
    [waiting] = await world.send(["waiting"])
    async with asyncio.timeout(WITHIN_S):
        while (await world.call("GET", f"/emails/{waiting}"))["recipients"][0][
            "queued_reason"
        ] != "listed":
            await asyncio.sleep(0.1)
    del records["81.0.0.127.zen.example"]
    assert not (await received(receiver, "ip.delisted", world.ids[FIRST]))["suspends"]
    assert await world.sources_of(["waiting"]) == {FIRST}
    restored = await world.wait_for_state(FIRST, "active")
    [ended] = restored["dnsbl_history"]
    assert (ended["blocklist"], ended["meaning"]) == ("zen", "a source of spam")
    assert ended["ended_at"] > ended["found_at"]


async def list_and_delist(world: World, dns: NameServer, receiver: Receiver) -> None:
    records: Any = dns.records
    [domain] = (await world.call("GET", "/domains"))["data"]
    path = f"/domains/{domain['id']}"
    assert (await world.call("GET", path))["listings"] == []
    records[LISTED_NAME] = {"A": ["127.0.0.8"], "TXT": ['"see https://multi.example/"']}
    data = await received(receiver, "domain.listed", domain["id"])
    assert data["reason"] == f"{DOMAIN} in multi: a phishing site"
    [listing] = (await world.call("GET", path))["listings"]
    assert (listing["text"], listing["ended_at"]) == ("see https://multi.example/", None)
    del records[LISTED_NAME]
    await received(receiver, "domain.delisted", domain["id"])
    [ended] = (await world.call("GET", path))["listings"]
    assert ended["ended_at"] > ended["found_at"]


def test_a_listed_ip_is_drained_and_restored(
    bootstrap_servers: str, database: FreshDatabase, tmp_path: Path
) -> None:
    async def scenario() -> None:
        tests = {"2.0.0.127.zen.example": LISTED, "test.multi.example": {"A": ["127.0.0.8"]}}
        async with SmtpPeer() as peer, name_server(dict(tests)) as (dns, address):
            files = {
                "ROUTER_ROUTES_FILE": ROUTE.format(address=peer.address),
                "OBM_BLOCKLISTS_FILE": BLOCKLISTS,
            }
            for name, text in files.items():
                (tmp_path / f"{name}.toml").write_text(text)
            settings = {
                **{name: str(tmp_path / f"{name}.toml") for name in files},
                "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
                "ROUTER_NAMESERVERS": address,
                "INGEST_NAMESERVERS": address,
                "ROUTER_DNSBL_INTERVAL_S": "0.5",
                "INGEST_DOMAIN_LISTING_INTERVAL_S": "0.5",
                "ROUTER_SOURCE_CHECKS": "off",
                "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
                "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            started = engine_of(
                tmp_path / "engine", bootstrap_servers=bootstrap_servers, database=database,
                settings=settings,
            )  # fmt: skip
            engine = await asyncio.to_thread(started.__enter__)
            try:
                async with (
                    httpx.AsyncClient(base_url=engine.url, timeout=60) as api,
                    receiving() as receiver,
                ):
                    world = await asyncio.to_thread(World, engine, api, peer)
                    await drain_and_restore(world, dns, receiver)
                    await list_and_delist(world, dns, receiver)
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)

    asyncio.run(scenario())
