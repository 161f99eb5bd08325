"""Domains are checked by DNS until they are verified; live mail follows."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from contracts.ingest.v1.events_pb2 import DomainChanged
from mail.dkim import zone_text
from services.ingest.store.domains import decode
from tests.support.ingest import IngestHarness, email
from tests.support.killed_ingest import run_until_killed
from tests.support.name_server import NOTHING, REFUSED, SERVFAIL, NameServer, name_server
from tests.support.polling import until
from tests.support.stack import FreshDatabase

NAME = "shop.customer.org"
Start = Callable[[str], IngestHarness]


@pytest.fixture
def start(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> Start:
    def harness(server: str) -> IngestHarness:
        extra = {
            "bounce_mx": "mx.platform.org",
            "nameservers": [server],
            "domain_check_interval_s": 0.1,
        }
        return IngestHarness(bootstrap_servers, topic_prefix, database, tmp_path, extra=extra)

    return harness


def publish(server: NameServer, records: list[dict[str, Any]]) -> None:
    zone: dict[str, Any] = {}
    for one in records:
        value = zone_text(one["value"]) if one["type"] == "TXT" else f"{one['value']}."
        if one["type"] == "MX":
            value = f"{one['priority']} {value}"
        zone.setdefault(one["name"], {})[one["type"]] = [value]
    server.records = zone


async def get(harness: IngestHarness, domain_id: str) -> Any:  # noqa: ANN401 - JSON
    return (await harness.request("GET", f"/v1/domains/{domain_id}")).json


async def create(harness: IngestHarness) -> Any:  # noqa: ANN401 - JSON
    return (await harness.request("POST", "/v1/domains", {"name": NAME})).json


async def verify(harness: IngestHarness, domain_id: str) -> Any:  # noqa: ANN401 - JSON
    """The domain after a check that began after this call."""
    before = (await get(harness, domain_id))["checked_at"]
    await harness.request("POST", f"/v1/domains/{domain_id}/verify", {})

    async def checked() -> bool:
        return bool((await get(harness, domain_id))["checked_at"] != before)

    await until(checked)
    return await get(harness, domain_id)


async def test_a_domain_is_verified_when_its_records_are_found_and_then_sends(
    start: Start,
) -> None:
    async with name_server({}) as (server, address), start(address).running() as harness:
        await harness.sign_up(test=False)
        made = await create(harness)
        first = await verify(harness, made["id"])
        assert first["status"] == "pending"
        assert {one["status"] for one in first["records"]} == {"pending"}

        publish(server, made["records"])
        dkim = made["records"][0]
        right = server.records[dkim["name"]]
        server.records = {**server.records, dkim["name"]: SERVFAIL}
        partly = await verify(harness, made["id"])
        assert partly["status"] == "pending"
        assert partly["records"][0]["status"] == "temporary_failure"

        server.records = {**server.records, dkim["name"]: right}
        found = await verify(harness, made["id"])
        assert (found["status"], found["records"][0]["found"]) == ("verified", [dkim["value"]])
        live = email(**{"from": f"a@{NAME}", "to": "ann@recipient.org"})
        assert (await harness.request("POST", "/v1/emails", live)).status == 202

        server.records = {}
        gone = await verify(harness, made["id"])
        assert gone["status"] == "verified", "a failure counts when it has lasted an hour"

        async def reported() -> bool:
            events = await harness.read_events(DomainChanged)
            types = [one.type for one in events if one.domain_id == made["id"]]
            return types == ["domain.created", "domain.updated", "domain.verified"]

        await until(reported)


@pytest.mark.parametrize("fault", [SERVFAIL, REFUSED, NOTHING])
async def test_a_domain_stays_verified_while_dns_is_away(start: Start, fault: str) -> None:
    async with name_server({}) as (server, address), start(address).running() as harness:
        await harness.sign_up(test=False)
        made = await create(harness)
        publish(server, made["records"])
        assert (await verify(harness, made["id"]))["status"] == "verified"
        server.fault_of = lambda *_: fault
        away = await verify(harness, made["id"])
        assert away["status"] == "verified"
        assert {one["status"] for one in away["records"]} == {"temporary_failure"}


async def test_dkim_that_is_gone_for_a_day_pauses_the_domain(
    start: Start, database: FreshDatabase
) -> None:
    async with name_server({}) as (server, address), start(address).running() as harness:
        await harness.sign_up(test=False)
        made = await create(harness)
        publish(server, made["records"])
        assert (await verify(harness, made["id"]))["status"] == "verified"
        server.records = {}
        await verify(harness, made["id"])
        age(database, timedelta(hours=25))
        gone = await verify(harness, made["id"])
        assert (gone["status"], gone["paused"]) == ("partially_failed", True)
        live = email(**{"from": f"a@{NAME}", "to": "ann@recipient.org"})
        refused = await harness.request("POST", "/v1/emails", live)
        assert refused.status == 403
        assert "paused" in refused.json["detail"]
        publish(server, made["records"])
        again = await verify(harness, made["id"])
        assert (again["status"], again["paused"]) == ("verified", False)
        assert (await harness.request("POST", "/v1/emails", live)).status == 202


async def test_a_check_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with name_server({}) as (_, address), start(address).running() as harness:
        await harness.sign_up(test=False)
        made = await create(harness)
        checked = await verify(harness, made["id"])
        logged = [one for one in caplog.records if one.message == "domain.checked"]
        assert made["id"] in {vars(one)["domain"] for one in logged}
        minutes = datetime.fromisoformat(checked["next_check_at"]) - datetime.fromisoformat(
            checked["checked_at"]
        )
        assert minutes == timedelta(minutes=2), "the schedule goes on"


def age(database: FreshDatabase, by: timedelta) -> None:
    """Shift the times in the state of all checks into the past."""
    with database.connect() as connection:
        rows = connection.execute("SELECT domain_id, state FROM ingest.domain_checks").fetchall()
        for domain_id, state in rows:
            old = decode(cast(bytes, state))
            moved = replace(
                old.verification,
                failing_since=earlier(old.verification.failing_since, by),
                dkim_missing_since=earlier(old.verification.dkim_missing_since, by),
            )
            connection.execute(
                "UPDATE ingest.domain_checks SET state = %s WHERE domain_id = %s",
                (msgspec.json.encode(replace(old, verification=moved)), domain_id),
            )


def earlier(moment: datetime | None, by: timedelta) -> datetime | None:
    return None if moment is None else moment - by


@pytest.mark.parametrize("place", ["written", "in_transaction", "committed"])
async def test_a_process_that_dies_during_a_check_leaves_nothing_half_done(
    start: Start, place: str
) -> None:
    async with name_server({}) as (server, address):
        harness = start(address)
        harness.extra["lease_s"] = 1.0  # the killed process has it
        await harness.sign_up(test=False)
        async with harness.directory() as directory:
            added = await directory.add_domain(NAME, tenant=harness.tenant_id)
            records = directory.records(
                added, bounce_mx="mx.platform.org", spf_include="_spf.mx.platform.org"
            )
            publish(server, [{**asdict(one)} for one in records])
            await directory.domains.change(
                added.domain_id, lambda _, check, now: replace(check, due_at=now)
            )
        await run_until_killed(harness.settings(), f"ingest.domain.{place}=kill")
        async with harness.running():

            async def verified() -> bool:
                return bool((await get(harness, added.domain_id))["status"] == "verified")

            await until(verified)
            await until(lambda: reported_once(harness, added.domain_id))


async def reported_once(harness: IngestHarness, domain_id: str) -> bool:
    """True if both events are published; each may be repeated, with the same id."""
    events = await harness.read_events(DomainChanged)
    ids = {(one.type, one.version) for one in events if one.domain_id == domain_id}
    assert len(ids) <= 2
    return sorted(kind for kind, _ in ids) == ["domain.created", "domain.verified"]


async def test_new_keys_sign_once_dns_has_them_and_the_old_ones_stay_published(
    start: Start,
) -> None:
    async with name_server({}) as (server, address), start(address).running() as harness:
        await harness.sign_up(test=False)
        made = await create(harness)
        publish(server, made["records"])
        assert (await verify(harness, made["id"]))["status"] == "verified"
        path = f"/v1/domains/{made['id']}/rotate-dkim"
        rotated = (await harness.request("POST", path, {})).json
        assert rotated["rotation"]["status"] == "pending"
        assert rotated["dkim_selectors"] == made["dkim_selectors"]
        again = await harness.request("POST", path, {})
        assert (again.status, again.json["name"]) == (409, "rotation_in_progress")
        waiting = await verify(harness, made["id"])
        assert (waiting["status"], waiting["dkim_selectors"]) == (
            "verified",
            made["dkim_selectors"],
        )

        publish(server, rotated["records"])
        done = await verify(harness, made["id"])
        assert done["dkim_selectors"] == rotated["rotation"]["dkim_selectors"]
        assert done["rotation"]["dkim_selectors"] == made["dkim_selectors"]
        assert done["rotation"]["status"] == "retiring"
        assert {one["status"] for one in done["records"]} == {"verified"}
