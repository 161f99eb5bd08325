"""The hosts of domains get certificates from an ACME authority, which are renewed and served."""

from pathlib import Path

import pytest

from kernel.embedded.folder import free_port
from tests.support.certified_hosts import HERE, has_failed, make_due, record, stored, world
from tests.support.events import TOKEN, ScenarioRunner, run_scenario, until
from tests.support.forked_process import ForkedProcess
from tests.support.keys import SECRET_KEY
from tests.support.stack import FreshDatabase

__all__ = ["run_scenario"]


@pytest.fixture(autouse=True)
def _postpone_others(database: FreshDatabase) -> None:
    """The hosts of other tests, of which one may be due: what its order does would be taken for
    what that of the test does."""
    with database.connect() as connection:
        [[table]] = connection.execute("SELECT to_regclass('events.certificates')")
        if table is not None:
            connection.execute("UPDATE events.certificates SET due_at = now() + interval '1 day'")


def test_a_verified_host_is_certified_and_served_by_every_process(
    run_scenario: ScenarioRunner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with (
            world(tmp_path, "verified.customer.org") as around,
            run_scenario.service(**around.settings()) as events,
            run_scenario.service(**around.settings(1)),
        ):
            lost = record("lost.customer.org", active=False)
            await events.publish(record(around.host), lost)
            serials = {await around.until_trusted(number) for number in (0, 1)}
            assert len(serials) == 1
            _, failures, problem, waits, _, key, chain = stored(events, around.host)
            assert (failures, problem, waits) == (0, "", True)
            assert b"PRIVATE" not in bytes(key)
            assert bytes(chain).startswith(b"-----BEGIN CERTIFICATE")
            assert stored(events, "lost.customer.org")[0] == 0, "nothing was ordered"
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await around.certificate(0, "lost.customer.org")

    run_scenario.run(main())


def test_a_certificate_is_renewed_before_it_expires(
    run_scenario: ScenarioRunner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with (
            world(tmp_path, "renewed.customer.org", validity_s=30) as around,
            run_scenario.service(**around.settings()) as events,
        ):
            await events.publish(record(around.host))
            first = await around.until_trusted(0)
            expires = stored(events, around.host)[4]
            await around.until_trusted(0, other_than=first)
            assert stored(events, around.host)[4] > expires

    run_scenario.run(main())


def test_an_order_that_fails_has_a_reason_and_does_not_keep_others_from_being_certified(
    run_scenario: ScenarioRunner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with (
            world(tmp_path, "other.customer.org") as around,
            run_scenario.service(**around.settings()) as events,
        ):
            await events.publish(record("nowhere.customer.org"), record(around.host))
            await around.until_trusted(0)
            await until(lambda: has_failed(events, "nowhere.customer.org"))
            version, failures, problem, waits, expires, *_ = stored(events, "nowhere.customer.org")
            assert (failures, waits, expires) == (1, True, None)
            assert "nowhere.customer.org" in problem
            assert version > 0
            # It leads here again: it is ordered without a restart, as soon as it is due.
            around.names.records = {**around.names.records, "nowhere.customer.org": HERE}
            await events.publish(
                record("nowhere.customer.org", version=2, active=False),
                record("nowhere.customer.org", version=3),
            )
            make_due(events, "nowhere.customer.org")
            await around.until_trusted(0, "nowhere.customer.org")

    run_scenario.run(main())


def test_refused_nonces_do_not_fail_an_order(run_scenario: ScenarioRunner, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            world(tmp_path, "nonces.customer.org", refused_nonces_percent=50) as around,
            run_scenario.service(**around.settings()) as events,
        ):
            await events.publish(record(around.host))
            await around.until_trusted(0)

    run_scenario.run(main())


def test_an_account_is_bound_to_one_that_the_authority_knows(
    run_scenario: ScenarioRunner, tmp_path: Path
) -> None:
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

    async def main() -> None:
        async with world(tmp_path, "bound.customer.org", account_keys={"kid-1": key}) as around:
            settings = around.settings()
            async with run_scenario.service(**settings) as events:
                await events.publish(record(around.host))
                query = "SELECT problem FROM events.certificates WHERE host = %s AND problem <> ''"
                await until(lambda: bool(events.rows(query, (around.host,))))
                assert "EVENTS_ACME_EAB_KEY_ID" in stored(events, around.host)[2]
                assert stored(events, around.host)[1] == 0, "it is not the fault of the host"
                make_due(events, around.host)
            bound = {"acme_eab_key_id": "kid-1", "acme_eab_hmac_key": key}
            async with run_scenario.service(**settings, **bound):
                await around.until_trusted(0)

    run_scenario.run(main())


@pytest.mark.parametrize("place", ["claimed", "issued", "in_transaction"])
def test_a_process_that_dies_during_an_order_leaves_the_host_to_its_successor(
    run_scenario: ScenarioRunner, tmp_path: Path, place: str,
    bootstrap_servers: str, database: FreshDatabase, topic_prefix: str,
) -> None:  # fmt: skip
    def environment(settings: dict[str, str]) -> dict[str, str]:
        given = {f"EVENTS_{name.upper()}": value for name, value in settings.items()}
        given["OBM_ACME_DIRECTORY"] = given.pop("EVENTS_ACME_DIRECTORY")
        given["OBM_BRANDS_FILE"] = given.pop("EVENTS_BRANDS_FILE")
        return given | {
            "OBM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "OBM_KAFKA_TOPIC_PREFIX": topic_prefix,
            "OBM_SECRET_KEYS": SECRET_KEY,
            "OBM_RPC_TOKEN": TOKEN,
            "OBM_LEASE_S": "1",
            "EVENTS_SYSTEM_DATABASE_URL": database.system("events"),
            "EVENTS_TENANT_DATABASE_URL": database.tenant("events"),
            "EVENTS_RPC_LISTEN": f"127.0.0.1:{free_port()}",
            "EVENTS_TRACKING_SPOOL": str(tmp_path / "killed"),
        }

    host = f"{place.replace('_', '-')}.customer.org"

    async def main() -> None:
        async with world(tmp_path, host) as around, run_scenario.service() as events:
            await events.publish(record(host))
            killed = ForkedProcess("events", environment(around.settings()), tmp_path / "log")
            killed.start(OBM_FAILPOINTS=f"events.certificate.{place}=kill")
            await until(lambda: not killed.running)
            assert stored(events, host)[0] == 0
            assert stored(events, host)[3], "not at once: a crash must not order in a loop"
            make_due(events, host)
            async with run_scenario.service(**around.settings()):
                await around.until_trusted(0, host)

    run_scenario.run(main())
