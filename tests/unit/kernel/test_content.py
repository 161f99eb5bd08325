import asyncio
from datetime import date
from pathlib import Path

import pytest

from kernel.content import Body, ContentStore, FileStore, Missing, RemoteStore, open_store
from kernel.crypto import SealBroken, new_key, seal, unseal
from kernel.errors import BadSetting

DAY = date(2026, 1, 31)


@pytest.fixture(params=["file", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    if request.param == "file":
        return FileStore(tmp_path)
    from obstore.store import MemoryStore

    return RemoteStore(MemoryStore())


def put(store: ContentStore, *bodies: bytes, kept: str = "now", until: date = DAY) -> list[str]:
    return asyncio.run(store.put_many([Body(body, kept, until) for body in bodies]))


def test_bodies_come_back_by_their_references(store: ContentStore) -> None:
    first = put(store, b"one", b"", b"three")
    second = put(store, b"four")

    assert asyncio.run(store.get_many([*second, *first])) == [b"four", b"one", b"", b"three"]


@pytest.mark.parametrize(
    "reference",
    ["", "../../etc/passwd:0:9", "now/2026-01-31/x:0:1", f"now/2026-01-31/{'0' * 36}:0:9"],
)
def test_a_reference_that_was_never_given_is_missing(store: ContentStore, reference: str) -> None:
    [found] = asyncio.run(store.get_many([reference]))

    assert isinstance(found, Missing)


def test_a_reference_past_the_end_of_its_segment_is_missing(store: ContentStore) -> None:
    [reference] = put(store, b"body")
    longer = reference.rpartition(":")[0] + ":99"

    [found] = asyncio.run(store.get_many([longer]))

    assert isinstance(found, Missing)


def test_a_prefix_goes_when_its_day_has_passed_and_not_before(store: ContentStore) -> None:
    old, new = (
        put(store, b"old")[0],
        put(store, b"new", kept="scheduled", until=date(2026, 3, 1))[0],
    )

    assert asyncio.run(store.expire(DAY)) == []
    assert asyncio.run(store.expire(date(2026, 2, 1))) == ["now/2026-01-31"]
    found = asyncio.run(store.get_many([new]))
    assert found == [b"new"]
    assert old.startswith("now/2026-01-31/")


def test_each_process_writes_segments_of_its_own(tmp_path: Path) -> None:
    one, two = FileStore(tmp_path), FileStore(tmp_path)

    [first], [second] = put(one, b"one"), put(two, b"two")

    assert first.partition(":")[0] != second.partition(":")[0]
    assert asyncio.run(one.get_many([first, second])) == [b"one", b"two"]


def test_a_sealed_body_opens_for_its_tenant_and_email_alone() -> None:
    key = new_key()
    sealed = seal(key, b"body", b"tenant/email")

    assert unseal(key, sealed, b"tenant/email") == b"body"
    with pytest.raises(SealBroken):
        unseal(key, sealed, b"other/email")
    with pytest.raises(SealBroken):
        unseal(new_key(), sealed, b"tenant/email")
    with pytest.raises(SealBroken):
        unseal(key, sealed[:5], b"tenant/email")


def test_an_address_of_no_known_kind_is_a_bad_setting() -> None:
    with pytest.raises(BadSetting, match="CONTENT_STORE_URL"):
        open_store("carrier-pigeon://loft")
