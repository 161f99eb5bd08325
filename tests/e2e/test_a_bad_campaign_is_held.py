"""A campaign that draws complaints is held before it has left, and a good one of the same tenant
goes on: five processes, a receiving server, and reports by mail (ARF)."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from kernel.embedded.folder import free_port
from tests.support.accounts import create_account, keys_of_callers
from tests.support.engine import WITHIN_S, Engine, engine_of
from tests.support.returned_mail import complaint, hand_in
from tests.support.shell import Shell
from tests.support.smtp_peer import ReceivedMessage, SmtpPeer
from tests.support.stack import FreshDatabase, temporary_database

DOMAIN, FEEDBACK = "bakery-lab.net", "fbl@mx.bakery-lab.net"
ROUTES = '[[route]]\ndomain = "*"\nmx_hosts = ["{}"]\n'
BATCH = 100
# Only recipients can tell which one nobody has asked for.
BAD = """Hello {name}, our new catalogue is there, with number {code} on the cover. You find all the
garden chairs, tables and lamps of this summer in it, and what our customers say about them. Visit
us in the old mill, or call us, and we send you one by mail."""
GOOD = """Hello {name}, thank you for your order {code}. The bread is baked tonight and will be with
you tomorrow morning before eight. If nobody is at home, we leave it with your neighbours, as usual.
See you soon at the bakery, and do try the new rolls with pumpkin seeds."""


class Campaign(NamedTuple):
    """complaints_of: every how many deliveries a recipient complains; 0: nobody does."""

    subject: str
    text: str
    size: int
    complaints_of: int = 0


class Settings(NamedTuple):
    copies_min: int = 5
    limited_from: int = 20
    allowance: int = 60
    wait_s: float = 10.0  # longer than complaints take on a busy machine

    def environment(self) -> dict[str, str]:
        return {
            "SHIELD_LEARNING": "on",
            "SHIELD_CAMPAIGN_COPIES_MIN": str(self.copies_min),
            "SHIELD_CAMPAIGN_LIMITED_FROM": str(self.limited_from),
            "SHIELD_CAMPAIGN_WAIT_S": str(self.wait_s),
            "OBM_CAMPAIGN_ALLOWANCE": str(self.allowance),
            "ROUTER_REPUTATION_POLICY": "none",
        }


PAGE = 100  # the longest


class World(NamedTuple):
    """api: with a live key. port: of the return path."""

    engine: Engine
    database: FreshDatabase
    api: httpx.Client
    port: int

    def held(self, campaign: "Campaign") -> int:
        query = (
            "SELECT count(*) FROM router.messages WHERE state = 'held'"
            " AND position(convert_to(%s, 'UTF8') IN context) > 0"
        )
        with self.database.connect() as connection:
            row = connection.execute(query, (domain_of(campaign),)).fetchone()
        return int(str(row[0])) if row else 0


def domain_of(campaign: Campaign) -> str:
    return f".{campaign.subject.split()[0].lower()}-lab.net"


@contextmanager
def world_of(
    folder: Path, peer: SmtpPeer, *, bootstrap_servers: str, url: str, settings: Settings
) -> Iterator[World]:
    port, routes = free_port(), folder / "routes.toml"
    routes.write_text(ROUTES.format(peer.address))
    more = {
        "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
        "ROUTER_ROUTES_FILE": str(routes),
        "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "DELIVERY_RETURN_PATH_LISTEN": f"127.0.0.1:{port}",
        "DELIVERY_FEEDBACK_ADDRESSES": FEEDBACK,
        **settings.environment(),
    }
    database = FreshDatabase(url)
    with engine_of(
        folder / "engine", bootstrap_servers=bootstrap_servers, database=database, settings=more
    ) as engine:
        account = create_account(engine.environment, DOMAIN)
        headers = {"Authorization": f"Bearer {account.api_key}"}
        with httpx.Client(base_url=engine.url, headers=headers, timeout=60) as api:
            yield World(engine, database, api, port)


def send(world: World, campaign: Campaign) -> None:
    """Every recipient at a domain of its own, so that each complaint counts."""
    numbers = range(campaign.size)
    for start in range(0, campaign.size, BATCH):
        emails = [
            {
                "from": f"Bakery <shop@{DOMAIN}>",
                "to": f"u{number}@r{number}{domain_of(campaign)}",
                "subject": campaign.subject,
                "text": campaign.text.format(name=f"Name{number}", code=f"A-{number:06}"),
            }
            for number in numbers[start : start + BATCH]
        ]
        world.api.post("/emails/batch", json=emails).raise_for_status()


def arrived(peer: SmtpPeer, campaign: Campaign) -> list[ReceivedMessage]:
    line = f"\r\nSubject: {campaign.subject}\r\n".encode()
    return [one for one in list(peer.messages) if line in one.raw]


def complain(world: World, message: ReceivedMessage) -> None:
    fields = message_from_bytes(message.message)
    header = f"X-Report-Token: {fields['X-Report-Token']}\nMessage-ID: {fields['Message-ID']}"
    assert hand_in(world.port, complaint(FEEDBACK, header), FEEDBACK)[0] == 250


def run(world: World, peer: SmtpPeer, bad: Campaign, good: Campaign, within_s: float) -> int:
    """Send both, and complain about one, until what is left of it is held and the other has left.
    Returns how many messages of the bad one have arrived."""
    for one in (bad, good):
        send(world, one)
    complained, until_s = 0, time.monotonic() + within_s
    while True:
        received = arrived(peer, bad)
        due = received[bad.complaints_of - 1 :: bad.complaints_of]
        for message in due[complained:]:
            complain(world, message)
        complained = len(due)
        held = world.held(bad)
        if held + len(received) == bad.size and held and len(arrived(peer, good)) == good.size:
            return len(received)
        assert time.monotonic() < until_s, (len(received), held, len(arrived(peer, good)))
        time.sleep(0.2)


def test_complaints_hold_a_campaign_and_not_the_other_mail_of_its_tenant(
    bootstrap_servers: str, database_url: str, migrated_template: str, tmp_path: Path
) -> None:
    bad, good = Campaign("Catalogue", BAD, 200, 10), Campaign("Order", GOOD, 200)

    async def scenario() -> None:
        with temporary_database(database_url, template=migrated_template) as url:
            async with SmtpPeer() as peer:
                await asyncio.to_thread(check, peer, url)

    def check(peer: SmtpPeer, url: str) -> None:
        settings = Settings()
        with world_of(
            tmp_path, peer, bootstrap_servers=bootstrap_servers, url=url, settings=settings
        ) as world:
            left = run(world, peer, bad, good, WITHIN_S)
            assert left < bad.size
            assert world.held(good) == 0
            held = world.api.get("/emails", params={"status": "held"}).raise_for_status().json()
            assert held["data"][0]["subject"] == bad.subject
            campaign_id = check_listed(world.api, left)
            check_in_a_shell(world.engine, campaign_id)

    asyncio.run(scenario())


def check_listed(api: httpx.Client, left: int) -> str:
    """The bad one is the campaign that is held, and the good one is another. left: how many of the
    bad one have arrived. Returns its id."""

    def listed(**wanted: str) -> list[dict[str, Any]]:
        found = api.get("/shield/campaigns", params=wanted).raise_for_status().json()
        return list(found["data"])

    [held] = listed(action="held")
    assert held["assessment"] == "held"
    assert 0 < held["delivered"] <= left
    assert held["complaints"] > 0
    assert held["assessed_at"]
    wanted = {"campaign_id": held["id"], "limit": PAGE}
    waiting = api.get("/held", params=wanted).json()["data"]
    assert min(held["held"], PAGE) == len(waiting) > 0
    assert {one["reasons"][0]["rule"] for one in waiting} == {"campaign"}
    others = [one for one in listed() if one["id"] != held["id"]]
    assert {one["assessment"] for one in others} <= {"started", "paced", "released"}
    assert max(one["screened"] for one in others) > 0
    assert {one["held"] for one in others} == {0}
    assert api.get(f"/shield/campaigns/{held['id']}").raise_for_status().json() == held
    return str(held["id"])


def check_in_a_shell(engine: Engine, campaign_id: str) -> None:
    key = keys_of_callers(engine.environment)["accounts"]
    shell = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})
    listed = shell.obm("campaigns", "list", "--action", "held")
    assert campaign_id in listed
    assert campaign_id not in shell.obm("campaigns", "list", "--action", "none")
    assert f"@{DOMAIN}" in shell.obm("held", "list", "--campaign", campaign_id)
    rejects = ["held", "reject", "--campaign", campaign_id, "--reason", "nobody asked for it"]
    counted = shell.obm(*rejects, "--dry-run")
    assert counted.endswith(" messages would be rejected")
    assert not counted.startswith("0 ")
