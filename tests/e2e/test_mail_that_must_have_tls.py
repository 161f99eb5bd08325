"""Mail that must have TLS waits, with its reason, while other mail to the same server leaves."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.support.accounts import create_account
from tests.support.engine import engine_of
from tests.support.smtp_peer import SmtpPeer
from tests.support.stack import FreshDatabase

DOMAIN = "clinic-lab.net"
WITHIN_S = 240.0
ROUTE = """
[[route]]
domain = "*"
mx_hosts = ["127.0.0.1:{port}"]
"""


class Client:
    """api: with a live key."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self.api = api

    async def send(self, name: str, **fields: str) -> str:
        email = {
            "from": f"a@{DOMAIN}",
            "to": f"{name}@patient-lab.net",
            "subject": "Hi",
            "text": "Hi",
        }
        sent = await self.api.post("/emails", json={**email, **fields})
        return str(sent.raise_for_status().json()["id"])

    async def recipient_of(
        self, email_id: str, until: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """The state of an email's recipient, once it is as wanted."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                email = (await self.api.get(f"/emails/{email_id}")).json()
                [recipient] = email["recipients"]
                if until(recipient):
                    return dict(recipient)
                await asyncio.sleep(0.1)

    async def attempt_of(self, email_id: str) -> dict[str, Any]:
        """The attempt in the timeline of an email."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                timeline = (await self.api.get(f"/emails/{email_id}/events")).json()["data"]
                for one in timeline:
                    if one["type"] == "message.attempted":
                        return dict(one["data"]["smtp"])
                await asyncio.sleep(0.1)


def is_waiting_for_tls(recipient: dict[str, Any]) -> bool:
    return bool(recipient["queued_reason"] == "tls_required")


async def send_with_and_without(client: Client, peer: SmtpPeer) -> None:
    strict = await client.send("ann", tls="enforced")
    waiting = await client.recipient_of(strict, is_waiting_for_tls)
    assert waiting["state"] == "queued"
    assert waiting["attempt_count"] == 0
    assert waiting["reply"]["enhanced"] == "4.7.4"
    assert waiting["reply"]["tls_policy"] == "enforced"
    assert "does not offer STARTTLS" in waiting["reply"]["text"]
    assert (await client.attempt_of(strict))["tls_policy"] == "enforced"
    plain = await client.send("bob")
    await client.recipient_of(plain, lambda one: one["state"] == "delivered")
    assert (await client.attempt_of(plain))["tls_policy"] == "none"

    [domain] = (await client.api.get("/domains")).json()["data"]
    changed = await client.api.patch(f"/domains/{domain['id']}", json={"tls": "enforced"})
    assert changed.raise_for_status().json()["tls"] == "enforced"
    by_domain = await client.send("eve")
    await client.recipient_of(by_domain, is_waiting_for_tls)
    assert [one.rcpt_to for one in peer.messages] == ["bob@patient-lab.net"]


def test_mail_that_must_have_tls_waits_for_a_server_that_has_it(
    bootstrap_servers: str, database: FreshDatabase, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with SmtpPeer() as peer:
            await asyncio.to_thread(
                (tmp_path / "routes.toml").write_text, ROUTE.format(port=peer.port)
            )
            settings = {
                "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
                "ROUTER_ROUTES_FILE": str(tmp_path / "routes.toml"),
                "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            started = engine_of(
                tmp_path / "engine", bootstrap_servers=bootstrap_servers, database=database,
                settings=settings,
            )  # fmt: skip
            engine = await asyncio.to_thread(started.__enter__)
            try:
                account = await asyncio.to_thread(create_account, engine.environment, DOMAIN)
                headers = {"Authorization": f"Bearer {account.api_key}"}
                async with httpx.AsyncClient(
                    base_url=engine.url, headers=headers, timeout=60
                ) as api:
                    await send_with_and_without(Client(api), peer)
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)

    asyncio.run(scenario())
