"""One engine for all clients."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.engine import Engine, engine_of
from tests.support.pair import FreshDatabase, temporary_database


@pytest.fixture(scope="session")
def engine(
    bootstrap_servers: str,
    database_url: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    with (
        temporary_database(database_url, template=migrated_template) as url,
        engine_of(
            tmp_path_factory.mktemp("engine"),
            bootstrap_servers=bootstrap_servers,
            database=FreshDatabase(url),
            settings={"KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}."},
        ) as running,
    ):
        yield running
