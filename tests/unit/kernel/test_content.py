import asyncio
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from kernel import clock, content
from kernel.content import (
    BucketStore,
    ContentNotFound,
    ContentStore,
    FileStore,
    ReadResult,
    SealedContent,
    check_mounted,
    open_store,
)
from kernel.crypto import SealBroken, new_content_key, seal, unseal
from kernel.errors import ConfigError, Unavailable

DAY = date(2026, 1, 31)


TODAY = clock.now().date()


@pytest.fixture(params=["file", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    if request.param == "file":
        return new_file_store(tmp_path)
    store = BucketStore(MemoryStore())
    asyncio.run(store.initialize())
    return store


def new_file_store(root: Path) -> FileStore:
    store = FileStore(root)
    asyncio.run(store.initialize())
    return store


def get(store: ContentStore, *references: str) -> list[ReadResult]:
    return asyncio.run(store.get_many(references))


def put(store: ContentStore, *bodies: bytes, kept: str = "now", until: date = DAY) -> list[str]:
    return asyncio.run(store.put_many([SealedContent(body, kept, until) for body in bodies]))


def test_bodies_come_back_by_their_references(store: ContentStore) -> None:
    first = put(store, b"one", b"", b"three")
    second = put(store, b"four")

    assert asyncio.run(store.get_many([*second, *first])) == [b"four", b"one", b"", b"three"]


@pytest.mark.parametrize(
    "reference",
    ["", "../../etc/passwd:0:9", "now/2026-01-31/x:0:1", f"now/2026-01-31/{'0' * 36}:0:9"],
)
def test_a_reference_that_the_store_did_not_create_is_not_found(
    store: ContentStore, reference: str
) -> None:
    [found] = asyncio.run(store.get_many([reference]))

    assert isinstance(found, ContentNotFound)


def test_a_reference_past_the_end_of_its_segment_is_not_found(store: ContentStore) -> None:
    [reference] = put(store, b"body")
    longer = reference.rpartition(":")[0] + ":99"

    [found] = asyncio.run(store.get_many([longer]))

    assert isinstance(found, ContentNotFound)


def test_a_missing_body_before_its_last_day_has_passed_is_unavailable(
    store: ContentStore,
) -> None:
    lost = f"now/{TODAY}/{'0' * 36}:0:9"
    [kept] = put(store, b"kept", until=TODAY)

    found = get(store, lost, kept, kept.rpartition(":")[0] + ":99")

    assert isinstance(found[0], Unavailable)
    assert found[1] == b"kept", "a lost segment is no trouble of its neighbours"
    assert isinstance(found[2], Unavailable)


def test_a_body_past_its_last_day_is_not_found(store: ContentStore) -> None:
    [found] = get(store, f"now/{TODAY - timedelta(days=1)}/{'0' * 36}:0:9")

    assert isinstance(found, ContentNotFound)


def test_a_volume_that_is_not_mounted_makes_the_store_unavailable(tmp_path: Path) -> None:
    volume, mount_point = tmp_path / "volume", tmp_path / "content"
    store = new_file_store(mount_point)
    [reference] = put(store, b"body", until=TODAY)
    mount_point.rename(volume)
    mount_point.mkdir()

    with pytest.raises(Unavailable):
        get(store, reference)
    with pytest.raises(Unavailable):
        put(FileStore(mount_point), b"would be hidden by the volume", until=TODAY)
    assert not asyncio.run(store.is_mounted())

    mount_point.rmdir()
    volume.rename(mount_point)
    assert get(store, reference) == [b"body"]


def test_a_bucket_without_the_marker_makes_the_store_unavailable() -> None:
    store = BucketStore(MemoryStore())

    with pytest.raises(Unavailable):
        get(store, f"now/{TODAY}/{'0' * 36}:0:9")


def test_a_batch_does_not_close_a_segment_that_another_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second batch, with many segments, runs just before the first reads."""
    store = new_file_store(tmp_path)
    [body] = put(store, b"the first", until=TODAY)
    others = [put(store, b"a stranger", until=TODAY + timedelta(days=n))[0] for n in range(1, 80)]
    pread, waiting = os.pread, [others]

    def interleaved(descriptor: int, length: int, offset: int, /) -> bytes:
        while waiting:
            get(store, *waiting.pop())
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", interleaved)
    assert get(store, body) == [b"the first"]


def test_foreign_objects_in_a_bucket_are_not_removed() -> None:
    bucket = MemoryStore()
    store: Any = BucketStore(bucket)
    for name in ("readme", "a/b", "2020-01-01", f"now/{DAY}/notes"):
        bucket.put(name, b"theirs")
    put(store, b"ours")

    assert asyncio.run(store.remove_expired(TODAY)) == [f"now/{DAY}"]
    left = {entry["path"] for page in bucket.list() for entry in page}
    assert left == {"readme", "a/b", "2020-01-01", f"now/{DAY}/notes"}


def test_foreign_files_in_the_folder_are_not_removed(tmp_path: Path) -> None:
    store = new_file_store(tmp_path)
    (tmp_path / "now" / "2020-01-02" / "a folder").mkdir(parents=True)
    (tmp_path / "now" / "2020-01-03").touch()
    put(store, b"ours")

    assert asyncio.run(store.remove_expired(TODAY)) == [f"now/{DAY}"]


def test_a_prefix_expires_after_its_last_day(store: ContentStore) -> None:
    old, new = (
        put(store, b"old")[0],
        put(store, b"new", kept="scheduled", until=date(2026, 3, 1))[0],
    )

    assert asyncio.run(store.remove_expired(DAY)) == []
    assert asyncio.run(store.remove_expired(date(2026, 2, 1))) == ["now/2026-01-31"]
    found = asyncio.run(store.get_many([new]))
    assert found == [b"new"]
    assert old.startswith("now/2026-01-31/")


def test_each_process_writes_its_own_segments(tmp_path: Path) -> None:
    one, two = new_file_store(tmp_path), FileStore(tmp_path)

    [first], [second] = put(one, b"one"), put(two, b"two")

    assert first.partition(":")[0] != second.partition(":")[0]
    assert asyncio.run(one.get_many([first, second])) == [b"one", b"two"]


def test_a_sealed_body_opens_only_for_its_tenant_and_email() -> None:
    key = new_content_key()
    sealed = seal(key, b"body", b"tenant/email")

    assert unseal(key, sealed, b"tenant/email") == b"body"
    with pytest.raises(SealBroken):
        unseal(key, sealed, b"other/email")
    with pytest.raises(SealBroken):
        unseal(new_content_key(), sealed, b"tenant/email")
    with pytest.raises(SealBroken):
        unseal(key, sealed[:5], b"tenant/email")


def test_an_unsupported_store_url_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="OBM_CONTENT_STORE_URL"):
        open_store("carrier-pigeon://loft")


def test_a_store_reports_its_free_ratio(store: ContentStore) -> None:
    assert 0 < asyncio.run(store.free_ratio()) <= 1


async def test_a_mount_check_waits_for_a_store_that_is_being_initialized(tmp_path: Path) -> None:
    """At the first start, a reader may check the store before the writer has initialized it."""
    store = FileStore(tmp_path / "content")

    finding = asyncio.create_task(check_mounted(store))
    await asyncio.sleep(0)
    await store.initialize()
    await finding


def test_a_place_that_is_never_initialized_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "MOUNT_POLL_S", 0.0)
    with pytest.raises(Unavailable):
        asyncio.run(check_mounted(FileStore(tmp_path / "content")))


def test_an_erased_body_is_overwritten_and_others_of_its_segment_stay(
    store: ContentStore, tmp_path: Path
) -> None:
    first, second, third = put(store, b"one", b"secret", b"three", until=TODAY)

    asyncio.run(store.erase([second, "no reference", f"now/{DAY}/{'0' * 36}:0:3"]))

    found = get(store, first, second, third)
    assert [found[0], found[2]] == [b"one", b"three"]
    assert isinstance(found[1], ContentNotFound)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in files)


def test_bodies_of_an_object_are_erased_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = MemoryStore()
    store, other = BucketStore(bucket), BucketStore(bucket)
    first, second, third = put(store, b"one", b"two", b"three", until=TODAY)
    read = obstore.get_async

    async def read_before_another_erases(*at: Any) -> Any:  # noqa: ANN401
        found = await read(*at)
        monkeypatch.setattr(obstore, "get_async", read)
        await other.erase([second])
        return found

    monkeypatch.setattr(obstore, "get_async", read_before_another_erases)
    asyncio.run(store.erase([first]))

    found = get(store, first, second, third)
    assert [type(one) for one in found[:2]] == [ContentNotFound] * 2
    assert found[2] == b"three"


def test_an_object_that_expires_while_it_is_erased_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = MemoryStore()
    store = BucketStore(bucket)
    [first] = put(store, b"one", until=TODAY)
    read = obstore.get_async

    async def read_before_its_day_has_passed(*at: Any) -> Any:  # noqa: ANN401
        found = await read(*at)
        await store.remove_expired(TODAY + timedelta(days=2))
        return found

    monkeypatch.setattr(obstore, "get_async", read_before_its_day_has_passed)
    asyncio.run(store.erase([first]))

    assert not any(True for page in obstore.list(bucket) for one in page)


def test_a_segment_is_erased_while_its_process_still_appends_to_it(tmp_path: Path) -> None:
    store = new_file_store(tmp_path)
    [first] = put(store, b"secret", until=TODAY)

    asyncio.run(FileStore(tmp_path).erase([first]))  # another process
    [second] = put(store, b"next", until=TODAY)

    found = get(store, first, second)
    assert isinstance(found[0], ContentNotFound)
    assert found[1] == b"next"
