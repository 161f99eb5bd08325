"""Webhooks about what belongs to tenants and accounts beside their mail: keys, dedicated IPs
and limits."""

from typing import Any

import pytest
from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import ApiKeyRotated
from contracts.router.v1.policies_pb2 import LimitReached, ListingChanged, WarmupChanged
from kernel.ids import uuid7_text
from tests.integration.test_events_account_webhooks import Account
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.receiver import Receiver, receiving

__all__ = ["run_scenario"]


@pytest.mark.parametrize("of_account", [False, True])
def test_the_rotation_of_a_key_is_delivered_to_its_owner_alone(
    run_scenario: ScenarioRunner, of_account: bool
) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            account, other = await Account(events).publish(), await Account(events).publish()
            tenant = account.tenants[0]
            for path, owner, of in (
                ("/account", account, ""), ("/tenant", account, tenant), ("/other", other, ""),
            ):  # fmt: skip
                await owner.create(receiver.url + path, tenant=of, event_types=["key.rotated"])
            rotated = [
                ApiKeyRotated(
                    key_id=uuid7_text(), rotated_from=uuid7_text(), account_id=account.id,
                    tenant_id="" if of_account else tenant, name="CI", prefix="obm_live_3fA9kQ",
                )
                for _ in range(2)
            ]  # fmt: skip
            await events.publish(rotated[0], rotated[0])
            await until(lambda: len(receiver.at("/account")) == 1)
            await events.publish(rotated[0], rotated[1])
            await until(lambda: len(receiver.at("/account")) == 2)
            expected = {"/account": 2, "/tenant": 0 if of_account else 2, "/other": 0}
            await until(lambda: len(receiver.received) == sum(expected.values()))
            assert {path: len(receiver.at(path)) for path in expected} == expected
            body = receiver.at("/account")[0].json
            assert body["type"] == "key.rotated"
            assert body["tenant_id"] == (None if of_account else tenant)
            assert (body["data"]["id"], body["data"]["rotated_from"]) == (
                rotated[0].key_id, rotated[0].rotated_from,
            )  # fmt: skip

    run_scenario.shared(scenario)


SHARED = WarmupChanged(
    scope="warmup/x", egress_id="01a21f53-9e27-7000-9aa0-821cb95b7018", version=1, change="advanced"
)


def ip_events(mine: dict[str, Any]) -> list[Message]:
    """Of a source of mine; and of one that nobody owns."""
    source = mine["egress_id"]
    warmups = [
        WarmupChanged(
            scope=f"warmup/{source}", version=version, change=change, stage=version, per_day=200,
            status="ramping", ramp="sparkpost", **mine,
        )
        for version, change in enumerate(("advanced", "held", "lowered"), 1)
    ]  # fmt: skip
    listings = [
        ListingChanged(
            blocklist="zen", version=version, listed=listed, confirmed=confirmed, suspends=True,
            **(mine if listed else {**mine, "tenant_id": ""}),
        )
        for version, listed, confirmed in ((4, True, False), (5, True, True), (6, False, False))
    ]  # fmt: skip
    return [SHARED, *warmups, *listings]


def test_what_happens_to_a_dedicated_ip_is_delivered_to_its_owner_once(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        account, other = await Account(events).publish(), await Account(events).publish()
        tenant = account.tenants[0]
        mine: dict[str, Any] = {
            "egress_id": uuid7_text(), "account_id": account.id, "tenant_id": tenant,
            "pool_id": uuid7_text(), "addresses": ["192.0.2.7"],
        }  # fmt: skip
        async with receiving() as receiver:
            await account.create(receiver.url + "/account")
            await account.create(receiver.url + "/tenant", tenant=tenant)
            await other.create(receiver.url + "/other")
            for _ in range(2):  # as after offsets are set back
                await events.publish(*ip_events(mine))
            expected = ["ip.listed", "ip.warmup_advanced", "ip.warmup_regressed"]
            await until(lambda: types_at(receiver, "/tenant") == expected)
            await until(lambda: types_at(receiver, "/account") == ["ip.delisted", *expected])
            last = WarmupChanged(scope="warmup/x", version=9, change="finished", **mine)
            await events.publish(*ip_events(mine), last)
            await until(lambda: "ip.warmup_finished" in types_at(receiver, "/account"))
            assert len(receiver.at("/account")) == len(expected) + 2
            assert receiver.at("/other") == []
            check_bodies({one.json["type"]: one.json for one in receiver.at("/account")}, mine)
            stored = "SELECT FROM events.unpartitioned_log WHERE subject_id = %s"
            assert events.rows(stored, (SHARED.egress_id,)) == []

    run_scenario.shared(scenario)


def check_bodies(bodies: dict[str, Any], mine: dict[str, Any]) -> None:
    assert bodies["ip.warmup_advanced"]["tenant_id"] == mine["tenant_id"]
    assert bodies["ip.delisted"]["tenant_id"] is None
    assert bodies["ip.warmup_advanced"]["data"] == {
        "id": mine["egress_id"], "addresses": ["192.0.2.7"], "pool_id": mine["pool_id"],
        "account_id": mine["account_id"], "changed_at": "1970-01-01T00:00:00.000Z", "site": None,
        "status": "ramping", "ramp": "sparkpost", "stage": 2, "allowance_today": 200,
        "reason": None,
    }  # fmt: skip
    assert bodies["ip.listed"]["data"]["blocklist"] == "zen"
    assert bodies["ip.listed"]["data"]["suspends"]


def types_at(receiver: Receiver, path: str) -> list[str]:
    return sorted(one.json["type"] for one in receiver.at(path))


def test_a_limit_that_is_reached_is_delivered_to_its_tenant_and_account_once(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        account = await Account(events).publish()
        tenant, sibling = account.tenants
        async with receiving() as receiver:
            await account.create(receiver.url + "/account")
            for path, one in (("/tenant", tenant), ("/sibling", sibling)):
                await account.create(receiver.url + path, tenant=one)
            reached = [
                LimitReached(
                    scope=f"tenant/{tenant}", limit="per_day", period=period, tenant_id=tenant,
                    maximum=500,
                )
                for period in (20_000, 20_001)
            ]  # fmt: skip
            await events.publish(reached[0], reached[0])
            await until(lambda: len(receiver.received) == 2)
            await events.publish(*reached)
            await until(lambda: len(receiver.received) == 4)
            assert {path: len(receiver.at(path)) for path in ("/account", "/tenant")} == {
                "/account": 2, "/tenant": 2,
            }  # fmt: skip
            body = receiver.at("/account")[0].json
            assert (body["type"], body["tenant_id"]) == ("limit.reached", tenant)
            assert body["data"] == {
                "scope": f"tenant/{tenant}", "limit": "per_day", "maximum": 500,
                "reached_at": "1970-01-01T00:00:00.000Z", "resets_at": "1970-01-01T00:00:00.000Z",
            }  # fmt: skip

    run_scenario.shared(scenario)
