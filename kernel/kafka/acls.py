"""Access rules (ACLs) of Kafka: create them by a broker's API."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest

from kernel.errors import ConfigError, Unavailable
from kernel.kafka.brokers import Brokers

# Numbers of Kafka's protocol (KIP-140, KIP-290).
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
RESOURCES = {"topic": 2, "group": 3}
LITERAL, PREFIXED = 3, 4
ALLOW = 3
NAME_OF_ALL = "*"


class Acl(NamedTuple):
    """A principal, for example `User:router`, may do this. prefixed: with all topics or groups
    whose names begin so; the name `*` means all."""

    principal: str
    operation: Literal["Read", "Write", "Create", "Describe"]
    resource: Literal["topic", "group"]
    name: str
    prefixed: bool = False


async def create_acls(config: Brokers, acls: Iterable[Acl]) -> None:
    """Create the rules that do not exist. Raises Unavailable, and ConfigError if the broker
    refuses."""
    client = AIOKafkaClient(**config.options())
    try:
        await client.bootstrap()
        for acl in acls:
            await _create(client, acl)
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await client.close()


async def _create(client: AIOKafkaClient, acl: Acl) -> None:
    request = CreateAclsRequest(
        RESOURCES[acl.resource],
        acl.name,
        PREFIXED if acl.prefixed else LITERAL,
        acl.principal,
        "*",
        OPERATIONS[acl.operation],
        ALLOW,
    )
    response = await client.send(client.get_random_node(), request)
    for code, message in response.creation_responses:
        if code:
            raise ConfigError(f"Kafka refuses an ACL: {message or for_code(code).__name__}.")
