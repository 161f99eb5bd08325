"""An import outlives kills, waits for the router, and is sealed while it is kept."""

import asyncio
from uuid import uuid4

import pytest

from cli.environment import Ports
from services.ingest.store.retention import RetentionStore
from tests.support.ingest import IngestHarness
from tests.support.killed_ingest import run_until_killed
from tests.support.stack import FreshDatabase, opened
from tests.support.suppressions import (
    FAST,
    IMPORTS,
    SLOW,
    MemoryRouter,
    completed,
    counts,
    file_of,
    harness_with_imports,
    router,
    stored,
    upload,
)

__all__ = ["router"]

harness = harness_with_imports()


@pytest.mark.parametrize("place", ["added=kill", "added=kill@2", "part_saved=kill", "added=kill@3"])
async def test_a_process_that_dies_adds_each_line_once_all_the_same(
    harness: IngestHarness, router: MemoryRouter, place: str
) -> None:
    harness.extra |= SLOW
    async with harness.running():
        await harness.sign_up(test=False)
        await completed(harness, await upload(harness, b"email\n"))  # there was a first run
        created = await upload(harness, file_of(2_200) + b"wrong\n" + file_of(300))
        assert created.status == 202
    harness.extra |= FAST
    async with harness.serving_others():
        await run_until_killed(harness.settings(), f"ingest.suppressions.{place}")
    async with harness.running():
        found = await completed(harness, created)
    assert counts(found) == (2_501, 2_200, 300, 1)
    assert len(router.addresses()) == 2_200


async def test_an_import_waits_for_the_router_and_for_nobody_else(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        router.is_available = False
        waiting = await upload(harness, b"ann@x.example\n")
        assert waiting.json["status"] == "queued"
        router.is_available = True
        assert counts(await completed(harness, waiting)) == (1, 1, 0, 0)

        router.refuses = "poison"
        poisoned = await upload(harness, b"poison@x.example\n")
        other = await upload(harness, b"bob@x.example\n")
        assert counts(await completed(harness, other)) == (1, 1, 0, 0)
        with harness.database.connect() as owner:
            owner.execute(
                "UPDATE ingest.suppression_imports SET tries = 5, turn_at = now() WHERE id = %s",
                (poisoned.json["id"],),
            )
        assert counts(await completed(harness, poisoned)) == (1, 0, 0, 1)
        path = f"{IMPORTS}/{poisoned.json['id']}/results"
        [failure] = (await harness.request("GET", path)).json["data"]
        assert failure["problem"] == "This line and the following, 1 in all, could not be added."


async def test_a_deleted_import_adds_no_more(harness: IngestHarness, router: MemoryRouter) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        router.is_available = False
        created = await upload(harness, file_of(2_000))
        path = f"{IMPORTS}/{created.json['id']}"
        deleted = await harness.request("DELETE", path)
        assert deleted.json == {
            "object": "suppression_import", "id": created.json["id"], "deleted": True
        }  # fmt: skip
        assert stored(harness)[1] == 0
        for method, suffix in (("GET", ""), ("DELETE", ""), ("GET", "/results")):
            assert (await harness.request(method, path + suffix)).status == 404
        router.is_available = True
        await completed(harness, await upload(harness, b"ann@x.example\n"))
        assert router.addresses() == {"ann@x.example"}


async def test_addresses_are_sealed_at_rest(
    harness: IngestHarness, router: MemoryRouter, database: FreshDatabase
) -> None:
    harness.extra |= SLOW
    async with harness.running():
        await harness.sign_up(test=False)
        await completed(harness, await upload(harness, b"email\n"))
        created = await upload(harness, b"email\nsecret-ann@x.example\nsecret-bob\n")
        assert bodies(database, "parts")
    harness.extra |= FAST
    async with harness.running():
        await completed(harness, created)
        assert router.addresses() == {"secret-ann@x.example"}
        assert bodies(database, "results")


def bodies(database: FreshDatabase, table: str) -> bool:
    with database.connect() as owner:
        found = owner.execute(f"SELECT body FROM ingest.suppression_import_{table}".encode())
        octets = [bytes(body) for (body,) in found]  # type: ignore[call-overload]
    assert not any(b"secret" in one for one in octets)
    return bool(octets)


async def test_old_imports_and_uploads_that_never_ended_are_deleted(
    harness: IngestHarness, router: MemoryRouter, database: FreshDatabase
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        file = b"email\nwrong@@x\na@x.example\n"
        ids = [(await completed(harness, await upload(harness, file)))["id"] for _ in range(2)]
        with database.connect() as owner:
            owner.execute(
                "UPDATE ingest.suppression_imports SET completed_at = now() - interval '31 days'"
                " WHERE id = %s", (ids[0],),
            )  # fmt: skip
            for minutes in (59, 61):
                owner.execute(
                    "INSERT INTO ingest.suppression_imports (id, account_id, tenant_id, turn_at)"
                    " VALUES (%s, gen_random_uuid(), %s, now() - make_interval(mins => %s))",
                    (str(uuid4()), harness.tenant_id, minutes),
                )
        async with opened(database.system("ingest")) as system:
            store = RetentionStore(system, retention_days=30)
            assert await store.expire_suppression_imports() == 2
            assert await store.expire_suppression_imports() == 0
        listed = (await harness.request("GET", IMPORTS)).json["data"]
        assert [one["id"] for one in listed] == [ids[1]]


async def test_two_replicas_add_each_line_once(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running(Ports.find_free()):
        await harness.sign_up(test=False)
        created = [await upload(harness, file_of(1_500, start)) for start in (0, 1_000)]
        done = await asyncio.gather(*(completed(harness, one) for one in created))
        assert sum(one["added"] for one in done) == 2_500
        assert len(router.addresses()) == 2_500
