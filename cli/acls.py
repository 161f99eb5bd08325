"""`obm acls`: what each service may do with the topics, as ACLs of Kafka."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console

from cli.environment import SERVICES
from contracts.delivery.v1 import events_pb2 as delivery
from contracts.events.v1 import events_pb2 as events
from contracts.ingest.v1 import directory_pb2 as directory
from contracts.ingest.v1 import events_pb2 as ingest
from contracts.options.v1 import options_pb2
from contracts.router.v1 import directory_pb2 as egress
from contracts.router.v1 import events_pb2 as router
from contracts.router.v1 import policies_pb2 as policies
from contracts.shield.v1 import events_pb2 as shield
from contracts.shield.v1 import learning_pb2 as learning
from kernel.kafka.acls import NAME_OF_ALL, Acl, create_acls
from kernel.kafka.brokers import Brokers
from kernel.kafka_settings import KafkaSettings
from kernel.topics import DLQ_SUFFIX, EventContract, contract_of

CONTRACTS = (delivery, events, directory, ingest, egress, router, policies, shield, learning)

console = Console(highlight=False, soft_wrap=True)


def acls(
    *,
    reader: Annotated[
        list[str], typer.Option(metavar="NAME", help="A system that reads the events, and no more")
    ] = [],  # noqa: B006 - typer copies it
    rewind: Annotated[
        list[str], typer.Option(metavar="NAME", help="Who may run `obm rewind`")
    ] = [],  # noqa: B006 - as above
    principal: Annotated[
        str, typer.Option(metavar="TEXT", help="The principal of a name, as Kafka knows it")
    ] = "User:{}",
    strimzi: Annotated[
        str, typer.Option(metavar="CLUSTER", help="Print KafkaUsers of this cluster of Strimzi")
    ] = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Create them, as the user of OBM_KAFKA_SASL_USERNAME")
    ] = False,
) -> None:
    """Print what each service may do with the topics, as commands of kafka-acls.sh."""
    settings = KafkaSettings()
    prefix = settings.kafka_topic_prefix
    found = [one for service in SERVICES for one in acls_of(service, prefix)]
    found += [one for name in reader for one in acls_of_reader(name, prefix)]
    found += [one for name in rewind for one in acls_of_rewind(name, prefix)]
    if strimzi:
        console.print("---\n".join(kafka_users(found, strimzi)), markup=False, end="")
        return
    named = [one._replace(principal=principal.format(one.principal)) for one in found]
    if apply:
        asyncio.run(create_acls(Brokers.from_settings(settings), named))
        console.print(f"Created {len(named)} ACLs.")
        return
    for acl in named:
        console.print(command_of(acl, settings.kafka_bootstrap_servers), markup=False)


def contracts() -> list[EventContract]:
    """Of all topics."""
    return [
        contract_of(event)
        for module in CONTRACTS
        for event in module.DESCRIPTOR.message_types_by_name.values()
        if event.GetOptions().HasExtension(options_pb2.topic)
    ]


def acls_of(service: str, prefix: str) -> Iterator[Acl]:
    """A service creates and writes its topics, whose names begin with its own, reads what the
    contracts say, and leaves there what it cannot process. It sees the state of all, because the
    audit asks how far a consumer is. The principal is the name alone."""
    for operation in ("Write", "Create"):
        yield Acl(service, operation, "topic", f"{prefix}{service}.", prefixed=True)
    yield Acl(service, "Read", "group", f"{prefix}{service}", prefixed=True)
    yield Acl(service, "Describe", "topic", prefix or NAME_OF_ALL, prefixed=bool(prefix))
    yield Acl(service, "Describe", "group", prefix or NAME_OF_ALL, prefixed=bool(prefix))
    for name in topics_of([one for one in contracts() if service in one.topic.readers], prefix):
        yield Acl(service, "Read", "topic", name)
        yield Acl(service, "Write", "topic", name + DLQ_SUFFIX)


def acls_of_reader(name: str, prefix: str) -> Iterator[Acl]:
    """All events, without the directory, which has secrets of tenants; in groups that begin with
    the reader's name."""
    yield Acl(name, "Read", "group", name, prefixed=True)
    for topic in topics_of([one for one in contracts() if not one.topic.compacted], prefix):
        yield Acl(name, "Read", "topic", topic)


def acls_of_rewind(name: str, prefix: str) -> Iterator[Acl]:
    """To commit an offset, Kafka wants the right to read the topic."""
    yield Acl(name, "Read", "topic", prefix or NAME_OF_ALL, prefixed=bool(prefix))
    for service in SERVICES:
        yield Acl(name, "Read", "group", f"{prefix}{service}", prefixed=True)


def topics_of(found: Sequence[EventContract], prefix: str) -> list[str]:
    return sorted(prefix + name for contract in found for name in contract.names)


def command_of(acl: Acl, bootstrap_servers: str) -> str:
    """A command of Kafka's distribution."""
    pattern = " --resource-pattern-type prefixed" if acl.prefixed else ""
    return (
        f"kafka-acls.sh --bootstrap-server {bootstrap_servers} --add"
        f" --allow-principal '{acl.principal}' --operation {acl.operation}"
        f" --{acl.resource} '{acl.name}'{pattern}"
    )


KAFKA_USER = """\
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: kafka-{name}
  labels: {{ strimzi.io/cluster: {cluster} }}
spec:
  authentication: {{ type: tls }}
  authorization:
    type: simple
    acls:
"""


def kafka_users(acls: Sequence[Acl], cluster: str) -> Iterator[str]:
    """A manifest for each principal: Strimzi makes a Secret of its name, with a certificate."""
    for name in dict.fromkeys(one.principal for one in acls):
        operations: dict[Acl, list[str]] = {}
        for one in acls:
            if one.principal == name:
                resource = one._replace(operation="Read")
                operations.setdefault(resource, []).append(one.operation)
        yield KAFKA_USER.format(name=name, cluster=cluster) + "".join(
            f'      - {{ resource: {{ type: {one.resource}, name: "{one.name}",'
            f" patternType: {'prefix' if one.prefixed else 'literal'} }},"
            f" operations: [{', '.join(allowed)}] }}\n"
            for one, allowed in operations.items()
        )
