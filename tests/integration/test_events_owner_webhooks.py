"""Webhooks about what belongs to tenants and accounts beside their mail: keys."""

import pytest

from contracts.ingest.v1.events_pb2 import ApiKeyRotated
from kernel.ids import uuid7_text
from tests.integration.test_events_account_webhooks import Account
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.receiver import receiving

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

    run_scenario(scenario)
