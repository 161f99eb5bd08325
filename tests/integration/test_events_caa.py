"""CAA records are looked up before a certificate is ordered."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from contracts.events.v1.events_pb2 import CertificateChanged
from services.events.clients.acme import AcmeClient
from tests.support.certified_hosts import HERE, has_failed, make_due, record, stored, world
from tests.support.events import ScenarioRunner, run_scenario, until
from tests.support.name_server import SERVFAIL
from tests.support.records import all_of

__all__ = ["run_scenario"]
ALLOWED, FORBIDDEN, UNKNOWN = (
    f"links.{name}.customer.net" for name in ("allowed", "forbidden", "unknown")
)
RECORDS: Mapping[str, Mapping[str, list[str] | str]] = {
    ALLOWED: HERE,
    "allowed.customer.net": {"CAA": ['0 issue "pebble.letsencrypt.org"']},
    FORBIDDEN: HERE,
    "forbidden.customer.net": {"CAA": ['0 issue "other.example"']},
    UNKNOWN: {**HERE, "CAA": SERVFAIL},
}


def test_what_caa_records_forbid_is_not_ordered(
    run_scenario: ScenarioRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory of this Pebble has no names for CAA records, as that of Let's Encrypt has."""

    async def identities(_: AcmeClient) -> Sequence[str]:
        return ["pebble.letsencrypt.org"]

    monkeypatch.setattr(AcmeClient, "identities", identities)

    async def main() -> None:
        async with world(tmp_path, ALLOWED) as around:
            around.names.records = RECORDS
            settings = around.settings() | {"nameservers": around.name_server}
            async with run_scenario.service(**settings) as events:
                await events.publish(*map(record, (FORBIDDEN, UNKNOWN, ALLOWED)))
                await until(lambda: has_failed(events, FORBIDDEN))
                for host in (UNKNOWN, ALLOWED):
                    await around.until_trusted(0, host)
                _, failures, problem, waits, *_ = stored(events, FORBIDDEN)
                assert (failures, waits) == (1, True)
                assert problem == (
                    "The CAA records of forbidden.customer.net let only other.example issue"
                    ' certificates. Add to them: 0 issue "pebble.letsencrypt.org"'
                )
                assert FORBIDDEN not in around.authority.log.read_text()
                ordered = events.rows("SELECT host FROM events.certificate_orders")
                assert {host for (host,) in ordered} & RECORDS.keys() == {UNKNOWN, ALLOWED}
                assert await is_published_as_forbidden(run_scenario, FORBIDDEN)
                around.names.records = {**RECORDS, "forbidden.customer.net": HERE}
                make_due(events, FORBIDDEN)
                await around.until_trusted(0, FORBIDDEN)

    run_scenario.run(main())


async def is_published_as_forbidden(scenario: ScenarioRunner, host: str) -> bool:
    """Whether the first event of a host says that records forbid its certificate."""
    topic = f"{scenario.prefix}events.certificate-changed.v1"

    async def find() -> CertificateChanged | None:
        records = await all_of(topic, scenario.bootstrap_servers)
        changes = [CertificateChanged.FromString(one.value) for one in records]
        return next((one for one in changes if one.host == host), None)

    return (await until(find)).forbidden
