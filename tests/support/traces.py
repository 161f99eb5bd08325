"""Where an installation still has an address: all tables, all topics, the content store."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.ingest.v1.events_pb2 import MessageAccepted
from tests.support.kafka_clients import options
from tests.support.records import all_of
from tests.support.stack import FreshDatabase

TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname IN ('ingest', 'shield', 'router', 'delivery', 'events')
"""
HEX = re.compile(r"\\+x([0-9a-f]+)")


def spellings(address: str) -> list[bytes]:
    """As it may be written, in lower case; base64, whose case counts, at its three offsets."""
    lower = address.lower()
    found = {lower, quote(lower, safe="").lower(), lower.replace("@", "%40")}
    found |= {lower.replace("@", "=40"), "".join(f"%{ord(one):02x}" for one in lower)}
    return [one.encode() for one in found]


def coded(address: str) -> list[bytes]:
    found = []
    for form in (address, address.lower()):
        for before in range(3):
            text = base64.b64encode(bytes(before) + form.encode() + bytes(3))
            found.append(text[4:][: len(form) * 4 // 3 - 5])
    return found


def has(data: bytes, address: str) -> bool:
    lower = data.lower()
    return any(one in lower for one in spellings(address)) or any(
        one in data for one in coded(address)
    )


def tables_with(database: FreshDatabase, address: str) -> set[str]:
    """The tables that a dump of the database would show it in, also within binary columns."""
    found = set()
    with database.connect() as connection:
        for (table,) in connection.execute(TABLES).fetchall():
            statement = f"COPY (SELECT t::text FROM {table} AS t) TO STDOUT"
            with connection.cursor().copy(statement.encode()) as copied:
                for chunk in copied:
                    if any(has(part, address) for part in parts_of(bytes(chunk))):
                        found.add(str(table))
    return found


def parts_of(row: bytes) -> Iterator[bytes]:
    text = row.decode()
    yield row
    for match in HEX.finditer(text):
        yield bytes.fromhex(match[1][: len(match[1]) // 2 * 2])


def bodies_of(database: FreshDatabase, content: Path, email_ids: list[str]) -> list[bytes]:
    """What the content store has of these emails."""
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT accepted FROM ingest.emails WHERE email_id = ANY(%s::uuid[])", (email_ids,)
        ).fetchall()
    found = []
    for (accepted,) in rows:
        assert isinstance(accepted, bytes)
        reference = MessageAccepted.FromString(accepted).context.content_ref
        path, offset, length = reference.rsplit(":", 2)
        data = (content / path).read_bytes()
        found.append(data[int(offset) : int(offset) + int(length)])
    return found


async def topics_with(
    bootstrap_servers: str, prefix: str, address: str
) -> dict[str, dict[str, str]]:
    """The topics that have it, with their settings."""
    consumer = AIOKafkaConsumer(**options(bootstrap_servers))
    async with consumer:
        names = [one for one in await consumer.topics() if one.startswith(prefix)]
    having = []
    for name in sorted(names):
        records = await all_of(name, bootstrap_servers)
        if any(has((one.key or b"") + b" " + (one.value or b""), address) for one in records):
            having.append(name)
    return await settings_of(bootstrap_servers, having)


async def settings_of(bootstrap_servers: str, topics: list[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    admin = AIOKafkaAdminClient(**options(bootstrap_servers))
    await admin.start()
    try:
        wanted = [ConfigResource(ConfigResourceType.TOPIC, one) for one in topics]
        responses = await admin.describe_configs(wanted)
    finally:
        await admin.close()
    return {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for response in responses
        for resource in response.resources
    }
