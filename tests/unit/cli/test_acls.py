"""ACLs from the contracts, and whether the contracts say what the services read."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.acls import acls_of, acls_of_reader, command_of, contracts
from cli.environment import SERVICES, Ports, environment
from kernel.embedded.folder import free_port
from kernel.kafka import Kafka
from kernel.kafka.acls import Acl
from kernel.topics import contract_of
from services.__main__ import create_all


def registered(method: Callable[..., Any], readers: dict[str, set[str]]) -> Callable[..., Any]:
    """A method of Kafka that reads an event, and notes who does."""

    def call(kafka: Kafka, event: Any, *rest: object) -> Any:  # noqa: ANN401 - as the method
        readers[contract_of(event.DESCRIPTOR).topic.name].add(kafka._client)
        return method(kafka, event, *rest)

    return call


async def test_the_contracts_name_the_services_that_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all services, as they register with Kafka when they are created."""
    readers: defaultdict[str, set[str]] = defaultdict(set)
    groups: list[tuple[str, str]] = []
    consume: Callable[..., None] = Kafka.consume

    def consumed(kafka: Kafka, stream: Any, *, group: str) -> None:  # noqa: ANN401 - of any event
        groups.append((kafka._client, group))
        for event in stream.events:
            readers[contract_of(event.DESCRIPTOR).topic.name].add(kafka._client)
        consume(kafka, stream, group=group)

    monkeypatch.setattr(Kafka, "consume", consumed)
    for name in ("replay", "reader_of"):
        monkeypatch.setattr(Kafka, name, registered(getattr(Kafka, name), readers))
    url = "postgresql://owner:password@127.0.0.1:1/obm"
    settings = environment(tmp_path, kafka={}, database_url=url, ports=Ports.find_free())
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name, value in {
        "OBM_ACME_DIRECTORY": "https://acme.example/directory",
        "EVENTS_ACME_LISTEN": f"127.0.0.1:{free_port()}",
        "EVENTS_TRACKING_TLS_LISTEN": f"127.0.0.1:{free_port()}",
        "EVENTS_TLS_CERTIFICATE": settings["INGEST_TLS_CERTIFICATE"],
        "EVENTS_TLS_KEY": settings["INGEST_TLS_KEY"],
    }.items():
        monkeypatch.setenv(name, value)
    services = create_all()
    assert {one.topic.name: set(one.topic.readers) for one in contracts() if one.topic.readers} == (
        readers
    )
    for service, group in groups:
        assert group.startswith(service)
    await asyncio.gather(*(one.close() for one in services))


def test_each_topic_has_one_writer_by_its_name() -> None:
    for contract in contracts():
        assert contract.topic.name.split(".")[0] in SERVICES
        assert set(contract.topic.readers) <= set(SERVICES)
    text = (Path(__file__).parents[3] / "docs" / "topics.md").read_text()
    names = set(re.findall(r"^\| `([a-z0-9.-]+)", text, re.MULTILINE))
    assert {one.topic.name for one in contracts()} == {one.rstrip(".") for one in names}


def test_rules_are_bounded_by_the_prefix() -> None:
    for acl in (*acls_of("router", "eu."), *acls_of_reader("eu.crm", "eu.")):
        assert acl.name.startswith("eu.")


def test_a_reader_sees_no_secrets_and_writes_nothing() -> None:
    found = list(acls_of_reader("crm", ""))
    assert {acl.operation for acl in found} == {"Read"}
    directory = {name for one in contracts() if one.topic.compacted for name in one.names}
    assert directory.isdisjoint(acl.name for acl in found)
    assert Acl("crm", "Read", "topic", "router.message-closed.v1") in found


def test_a_rule_is_a_command_of_kafka() -> None:
    acl = Acl("User:router", "Write", "topic", "router.", prefixed=True)
    assert command_of(acl, "kafka:9092") == (
        "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal 'User:router'"
        " --operation Write --topic 'router.' --resource-pattern-type prefixed"
    )
