"""The operator's feedback domain signs mail to Yahoo, beside the sender's domain."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import dkim
import httpx

from tests.support.accounts import create_account, keys_of_callers
from tests.support.engine import Engine, engine_of
from tests.support.smtp_peer import SmtpPeer
from tests.support.stack import FreshDatabase

SENDER, FEEDBACK = "bakery-lab.net", "feedback-lab.net"
WITHIN_S = 240.0
ROUTES = """
[[route]]
domain = "yahoo-lab.net"
mx_hosts = ["{address}"]
site = "yahoo"

[[route]]
domain = "*"
mx_hosts = ["{address}"]
"""


class World:
    """tenant_id: of the operator, with the feedback domain."""

    def __init__(self, engine: Engine, api: httpx.AsyncClient, peer: SmtpPeer) -> None:
        self.engine, self.api, self.peer = engine, api, peer
        self.account = create_account(engine.environment, SENDER)
        self._operator = keys_of_callers(engine.environment)["pools"]
        self.records: dict[bytes, bytes] = {}

    async def call(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        """As the operator, for the tenant."""
        headers = {"Authorization": f"Bearer {self._operator}"}
        if path.startswith("/domains"):
            headers["X-Tenant-Id"] = self.account.tenant_id
        answer = await self.api.request(method, path, headers=headers, **more)
        return answer.raise_for_status().json()

    async def publish(self, domain_id: str) -> None:
        domain = await self.call("GET", f"/domains/{domain_id}")
        for one in domain["records"]:
            if "._domainkey" in one["name"]:
                name = f"{one['name'].removesuffix('.' + domain['name'])}.{domain['name']}."
                self.records[name.encode()] = one["value"].replace('" "', "").strip('"').encode()

    async def signed_by(self, recipient: str) -> list[str]:
        """The domains whose signatures of the next message verify, in the order of its header."""
        received = len(self.peer.messages)
        email = {"from": f"a@{SENDER}", "to": recipient, "subject": "Hi", "text": "Hi"}
        headers = {"Authorization": f"Bearer {self.account.api_key}"}
        (await self.api.post("/emails", json=email, headers=headers)).raise_for_status()
        async with asyncio.timeout(WITHIN_S):
            while len(self.peer.messages) == received:
                await asyncio.sleep(0.05)
        message = self.peer.messages[-1].message + b"\r\n"
        fields = message.split(b"\r\n\r\n")[0].split(b"DKIM-Signature:")[1:]
        checker = dkim.DKIM(message)
        for index in range(len(fields)):
            assert checker.verify(index, dnsfunc=lambda name, timeout=5: self.records[name])
        return [one.split(b"d=")[1].split(b";")[0].decode() for one in fields]

    async def until_signed_by(self, recipient: str, *domains: str) -> None:
        """The scheduler reads pools every two seconds."""
        async with asyncio.timeout(WITHIN_S):
            while await self.signed_by(recipient) != list(domains):
                pass


async def sign_for_yahoo(world: World) -> None:
    [sender] = (await world.call("GET", "/domains"))["data"]
    await world.publish(sender["id"])
    mailbox, friend = "ann@yahoo-lab.net", "bob@friend-lab.net"
    assert await world.signed_by(mailbox) == [SENDER, SENDER]

    added = await world.call("POST", "/domains", json={"name": FEEDBACK, "vouched": True})
    await world.publish(added["id"])
    [pool] = (await world.call("GET", "/pools"))["data"]
    changed = await world.call(
        "PATCH", f"/pools/{pool['id']}", json={"feedback_domain_id": added["id"]}
    )
    assert changed == {**pool, "feedback_domain_id": added["id"]}
    assert (await world.call("GET", "/pools"))["data"] == [changed]
    await world.until_signed_by(mailbox, SENDER, SENDER, FEEDBACK, FEEDBACK)
    assert await world.signed_by(friend) == [SENDER, SENDER]

    await world.call("DELETE", f"/domains/{added['id']}")
    await world.until_signed_by(mailbox, SENDER, SENDER)
    metrics = await world.api.get(
        f"http://{world.engine.environment['DELIVERY_HEALTH_LISTEN']}/metrics"
    )
    assert 'obm_delivery_feedback_unsigned_total{reason="removed"} ' in metrics.text

    cleared = {"feedback_domain_id": None}
    assert await world.call("PATCH", f"/pools/{pool['id']}", json=cleared) == pool


def test_the_feedback_domain_of_a_pool_signs_mail_to_yahoo_and_to_nobody_else(
    bootstrap_servers: str, database: FreshDatabase, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with SmtpPeer() as peer:
            routes = ROUTES.format(address=peer.address)
            await asyncio.to_thread((tmp_path / "routes.toml").write_text, routes)
            started = engine_of(
                tmp_path / "engine", bootstrap_servers=bootstrap_servers, database=database,
                settings={
                    "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
                    "ROUTER_ROUTES_FILE": str(tmp_path / "routes.toml"),
                    "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
                },
            )  # fmt: skip
            engine = await asyncio.to_thread(started.__enter__)
            try:
                async with httpx.AsyncClient(base_url=engine.url, timeout=60) as api:
                    world = await asyncio.to_thread(World, engine, api, peer)
                    await sign_for_yahoo(world)
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)

    asyncio.run(scenario())
