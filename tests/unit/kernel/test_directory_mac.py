"""MACs of directory records: what they cover, and which keys verify them."""

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.directory_pb2 import EgressSource
from kernel import clock
from kernel.directory_mac import DirectoryMac
from kernel.processor import Record
from kernel.topics import contract_of, encode, is_directory

MAC = DirectoryMac(["key"])


def signed(*keys: str) -> Outgoing:
    out = encode(Tenant(tenant_id="a", version=1, name="b"), clock.now())
    DirectoryMac(keys or ["key"]).sign(out)
    return out


def as_read(out: Outgoing, **different: object) -> Record:
    headers = list(out.headers.items())
    return Record(out.topic, 0, 0, out.key, out.value, headers)._replace(**different)  # type: ignore[arg-type]


def test_a_signed_record_is_authentic_to_every_holder_of_the_key() -> None:
    assert MAC.is_authentic(as_read(signed()))
    assert DirectoryMac(["new", "key"]).is_authentic(as_read(signed()))
    assert not DirectoryMac(["new"]).is_authentic(as_read(signed()))
    assert not DirectoryMac([]).is_authentic(as_read(signed()))


def test_the_first_key_signs() -> None:
    both = as_read(signed("new", "old"))
    assert DirectoryMac(["new"]).is_authentic(both)
    assert not DirectoryMac(["old"]).is_authentic(both)


CHANGES = {
    "topic": {"topic": "ingest.accounts.v1"},
    "key": {"key": b"b"},
    "value": {"value": b"b"},
    "no value": {"value": None},
    "no key": {"key": None},
    "no headers": {"headers": ()},
    "an empty MAC": {"headers": [("mac", b"")]},
}


@pytest.mark.parametrize("different", CHANGES.values(), ids=CHANGES)
def test_nothing_of_a_record_can_be_changed(different: dict[str, object]) -> None:
    assert not MAC.is_authentic(as_read(signed(), **different))


def test_the_end_of_a_key_is_not_the_begin_of_a_value() -> None:
    """Also for values with the octets that separate them."""
    value = b"x\x005\0" + b"forged"
    out = Outgoing(topic="ingest.tenants.v1", key=b"a", value=value)
    MAC.sign(out)
    for at in range(len(value) + 1):
        moved = as_read(out, key=b"a" + value[:at], value=value[at:])
        assert MAC.is_authentic(moved) == (at == 0)
    assert not MAC.is_authentic(as_read(out, topic="ingest.tenants.v1\0", key=b"", value=value))


def test_compacted_topics_are_the_directory() -> None:
    for event in (Tenant, EgressSource, MessageAccepted):
        contract = contract_of(event.DESCRIPTOR)
        for name in contract.names:
            assert is_directory(name) == contract.topic.compacted
