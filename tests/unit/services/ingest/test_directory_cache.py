import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from kernel import clock
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from services.ingest.store import directory_cache
from services.ingest.store.directory import DirectoryEntry
from services.ingest.store.directory_cache import DirectoryCache


class Store:
    """A database with the entries of a test."""

    def __init__(self) -> None:
        self.entries: list[DirectoryEntry] = []
        self.reads = 0
        self.unavailable = False
        self.saved: Callable[[DirectoryEntry], None] = lambda _: None

    def on_saved(self, listener: Callable[[DirectoryEntry], None]) -> None:
        self.saved = listener

    def add(self, entry: DirectoryEntry) -> DirectoryEntry:
        entry.version = len(self.entries) + 1
        self.entries.append(entry)
        return entry

    async def changes(self, *, after: int, count: int) -> list[DirectoryEntry]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.unavailable:
            raise Unavailable("postgresql")
        return [entry for entry in self.entries if entry.version > after][:count]


@asynccontextmanager
async def running_cache(
    store: Store, health: DependencyHealth | None = None
) -> AsyncIterator[DirectoryCache]:
    """every_s is very long, so that all reads are requested by lookups."""
    directory = DirectoryCache(store, health or DependencyHealth(), every_s=3600, age_max_s=30)  # type: ignore[arg-type]
    loop = asyncio.create_task(directory.run())
    try:
        yield directory
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


def key(**changes: object) -> ApiKey:
    return ApiKey(key_id="k", tenant_id="t", secret_sha256=b"secret", **changes)  # type: ignore[arg-type]


async def test_a_key_just_created_by_another_process_is_found() -> None:
    store = Store()
    async with running_cache(store) as directory:
        assert await directory.fetch_key(b"secret") is None
        store.add(key())
        assert directory.key(b"secret") is None
        assert await directory.fetch_key(b"secret") is not None
        assert directory.key(b"secret") is not None


async def test_a_thousand_lookups_of_unknown_keys_cost_two_reads() -> None:
    store = Store()
    async with running_cache(store) as directory:
        guesses = [directory.fetch_key(b"%d" % number) for number in range(1_000)]
        assert set(await asyncio.gather(*guesses)) == {None}
        assert store.reads <= 2


async def test_lookups_of_unknown_domains_and_tenants_share_reads() -> None:
    store = Store()
    async with running_cache(store) as directory:
        domains = [directory.domain("t", "a", name=f"{n}.example") for n in range(500)]
        tenants = [directory.tenant(f"{n}") for n in range(500)]
        assert set(await asyncio.gather(*domains, *tenants)) == {None}
        assert store.reads <= 2


async def test_a_key_deleted_by_this_process_is_refused_at_once() -> None:
    store = Store()
    store.add(key())
    async with running_cache(store) as directory:
        assert await directory.fetch_key(b"secret") is not None
        store.saved(store.add(key(deleted=True)))
        assert directory.key(b"secret") is None


async def test_no_key_is_accepted_while_the_cache_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    store.add(key())
    store.add(Tenant(tenant_id="t"))
    async with running_cache(store) as directory:
        assert await directory.fetch_key(b"secret") is not None
        store.unavailable = True
        now_s = clock.monotonic_s()
        monkeypatch.setattr(clock, "monotonic_s", lambda: now_s + 29)
        assert directory.key(b"secret") is not None
        assert await directory.tenant("t") is not None
        monkeypatch.setattr(clock, "monotonic_s", lambda: now_s + 31)
        assert directory.key(b"secret") is None
        for lookup in (directory.fetch_key(b"secret"), directory.tenant("t")):
            with pytest.raises(Unavailable, match="postgresql"):
                await lookup
        store.unavailable = False
        assert await directory.fetch_key(b"secret") is not None
        assert directory.key(b"secret") is not None


async def test_a_replica_is_ready_after_it_has_read_the_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(directory_cache, "PAGE", 2)

    store, health = Store(), DependencyHealth()
    for number in range(5):
        store.add(Tenant(tenant_id=f"{number}"))
    async with running_cache(store, health) as directory:
        assert not health.ready
        assert await directory.tenant("4") is not None
        assert health.ready
        assert store.reads == 3


async def test_a_deleted_domain_does_not_hide_one_of_the_same_name() -> None:
    store = Store()
    old = Domain(domain_id="old", tenant_id="t", name="a.example")
    store.add(Domain(domain_id="old", tenant_id="t", name="a.example"))
    store.add(Domain(domain_id="new", tenant_id="t", name="a.example"))
    async with running_cache(store) as directory:
        assert await directory.domain("t", "a", name="a.example") is not None
        old.deleted = True
        store.saved(store.add(old))
        found = await directory.domain("t", "a", name="a.example")
        assert found is not None
        assert found.domain_id == "new"
