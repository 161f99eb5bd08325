"""Test and live requests of one tenant do not share idempotency keys."""

from tests.support.ingest import IngestHarness
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")


async def test_an_idempotency_key_of_a_test_request_does_not_replay_for_live_mail(
    harness: IngestHarness,
) -> None:
    async with harness.running():
        live = await harness.sign_up(test=False)
        made = await harness.request("POST", "/v1/api-keys", {"name": "test", "test": True})
        key = {"Idempotency-Key": "order-17"}
        harness.key = made.json["token"]
        tried = await harness.send(http_headers=key)
        harness.key = live
        sent = await harness.send(to="ann@customer-lab.net", http_headers=key)
        assert tried.status == sent.status == 202
        assert tried.json["id"] != sent.json["id"]
        assert "idempotent-replayed" not in sent.headers
