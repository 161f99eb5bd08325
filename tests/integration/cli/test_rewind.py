"""`obm rewind`: groups read again what was published since a time."""

import asyncio

import pytest
from typer.testing import CliRunner

from cli.main import app
from kernel.errors import ConfigError
from kernel.kafka.rewind import rewind_groups
from tests.support.closer import CLOSED, EXPRESS, Bench, screened
from tests.support.kafka_clients import client_config, client_settings


async def test_records_since_a_time_are_read_again(
    bootstrap_servers: str, database_url: str
) -> None:
    bench = Bench(bootstrap_servers, database_url)
    await bench.topics()
    config, group = client_config(bootstrap_servers), f"{bench.prefix}closer"

    async with bench.consumer():
        await bench.produce(screened())
        await bench.all_processed()
        [first] = await bench.records_on(EXPRESS)
        later_ms = first.timestamp + 1
        await asyncio.sleep(0.01)  # a record of a later millisecond
        await bench.produce(screened(), screened())
        await bench.all_processed()
        with pytest.raises(ConfigError, match="in use"):
            await rewind_groups(config, (group,), to_ms=later_ms)
    processed = sum(map(len, bench.closer.batches))

    rewound = await rewind_groups(config, (group,), to_ms=later_ms)
    assert rewound == {f"{group}-bulk": 0, f"{group}-express": 2}
    assert await rewind_groups(config, (group,), to_ms=later_ms + 60_000) == dict.fromkeys(
        rewound, 0
    )
    async with bench.consumer():
        await bench.all_processed()
    assert sum(map(len, bench.closer.batches)) == processed + 2
    assert len(await bench.records_on(CLOSED)) == 3


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        ("2026-05-31T12:00:00Z", "No service has read anything yet"),
        ("2026-05-31T12:00:00", "has no time zone"),
        ("yesterday", "is not a time"),
    ],
)
def test_a_mistake_is_one_line(bootstrap_servers: str, time: str, problem: str) -> None:
    environment = client_settings(bootstrap_servers) | {"OBM_KAFKA_TOPIC_PREFIX": "nobody."}
    result = CliRunner().invoke(app, ["rewind", time], env=environment)
    assert result.exit_code
    assert problem in str(result.exception)
