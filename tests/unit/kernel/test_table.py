import asyncio
from collections.abc import Callable

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel.processor import Record
from kernel.table import ReplicatedTable


class FakeBroker:
    """Delivers the records that a test publishes."""

    def replay(self, event: type[Message], on_record: Callable[[Record], None]) -> asyncio.Event:
        self.on_record = on_record
        return asyncio.Event()

    def publish(self, entry: Message) -> None:
        self.on_record(Record("t", 0, 0, None, entry.SerializeToString()))


def table() -> tuple[ReplicatedTable[ApiKey], FakeBroker]:
    broker = FakeBroker()
    return ReplicatedTable(ApiKey, broker, index=lambda key: key.secret_sha256), broker


def test_an_older_version_that_comes_late_is_ignored() -> None:
    keys, broker = table()

    broker.publish(ApiKey(key_id="k", version=2, name="new"))
    broker.publish(ApiKey(key_id="k", version=1, name="old"))

    assert (entry := keys.get("k")) is not None
    assert entry.name == "new"


def test_a_deleted_entry_is_not_found_by_id_by_index_or_in_the_list() -> None:
    keys, broker = table()

    broker.publish(ApiKey(key_id="k", version=1, secret_sha256=b"s"))
    assert keys.get_by_index(b"s") is not None
    broker.publish(ApiKey(key_id="k", version=2, secret_sha256=b"s", deleted=True))

    assert (keys.get("k"), keys.get_by_index(b"s"), keys.values()) == (None, None, [])


async def test_a_fetch_waits_for_a_record_that_has_not_arrived() -> None:
    keys, broker = table()
    asyncio.get_running_loop().call_later(0.01, broker.publish, ApiKey(key_id="k", version=1))
    assert set(await keys.wait_for(["k"], within_s=5)) == {"k"}


def test_an_entry_that_never_arrives_does_not_exist() -> None:
    keys, _ = table()

    assert asyncio.run(keys.wait_for(["k"], within_s=0.01)) == {}


def test_a_listener_gets_each_new_version_once() -> None:
    keys, broker = table()
    heard: list[int] = []
    keys.on_change(lambda key: heard.append(key.version))

    for version in (1, 1, 3, 2):
        broker.publish(ApiKey(key_id="k", version=version))

    assert heard == [1, 3]
