"""Many emails in one request."""

from tests.support.ingest import IngestHarness, email
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")


async def test_a_batch_is_all_or_nothing_unless_it_is_permissive(harness: IngestHarness) -> None:
    async with harness.running():
        await harness.sign_up()
        batch = [email(), email(to="nobody"), email(subject=None)]
        strict = await harness.request("POST", "/v1/emails/batch", batch)
        assert strict.status == 422
        pointers = [one["pointer"] for one in strict.json["errors"]]
        assert pointers == ["#/1/to", "#/2/subject"]
        permissive = await harness.request(
            "POST", "/v1/emails/batch", batch, headers={"x-batch-validation": "permissive"}
        )
        assert permissive.status == 202
        assert len(permissive.json["data"]) == 1
        assert [one["index"] for one in permissive.json["errors"]] == [1, 2]
        foreign = {**email(), "from": "boss@somebody-else.net"}
        mixed = [email(), foreign, {**email(), "to": "nobody"}, email()]
        strict = await harness.request("POST", "/v1/emails/batch", [email(), foreign])
        assert (strict.status, strict.json["name"]) == (403, "invalid_from_address")
        assert [one["pointer"] for one in strict.json["errors"]] == ["#/1/from"]
        sent = await harness.request(
            "POST", "/v1/emails/batch", mixed, headers={"x-batch-validation": "permissive"}
        )
        assert (sent.status, len(sent.json["data"])) == (202, 2)
        assert [one["index"] for one in sent.json["errors"]] == [1, 2]
        assert (await harness.request("POST", "/v1/emails/batch", [])).status == 422
        assert (await harness.request("POST", "/v1/emails/batch", [email()] * 501)).status == 422
