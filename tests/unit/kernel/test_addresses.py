"""Resolution of host names: without threads, one query per name, and the hosts file."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import dns.exception
import pytest

from kernel.addresses import AddressRefused, AddressResolver


class Answer:
    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    def addresses(self) -> Sequence[str]:
        return self._addresses


class Resolver:
    """Answers queries; names that begin with `slow` only after `released` is set."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.released = asyncio.Event()

    async def resolve_name(self, name: str, *, lifetime: float) -> Answer:
        self.queries.append(name)
        if name.startswith("slow"):
            async with asyncio.timeout(lifetime):
                await self.released.wait()
        if name.startswith("missing"):
            raise dns.exception.DNSException(name)  # type: ignore[no-untyped-call]
        return Answer(["8.8.8.8"])


def is_shared(address: str, plain: bool) -> bool:
    return not address.startswith("10.6.")


def addresses(resolver: Resolver, hosts: Path = Path("/nowhere")) -> AddressResolver:
    return AddressResolver(is_shared, resolver=resolver, hosts=hosts)  # type: ignore[arg-type]


async def test_slow_names_do_not_delay_others() -> None:
    resolver = Resolver()
    addresses_of = addresses(resolver)
    slow = [
        asyncio.create_task(addresses_of.resolve(f"slow{n}.example", plain=False))
        for n in range(50)
    ]
    while len(resolver.queries) < 50:
        await asyncio.sleep(0)

    assert await addresses_of.resolve("good.example", plain=False) == ["8.8.8.8"]
    assert not any(task.done() for task in slow)

    resolver.released.set()
    assert await asyncio.gather(*slow) == [["8.8.8.8"]] * 50


async def test_concurrent_lookups_share_one_query_that_survives_a_cancelled_caller() -> None:
    resolver = Resolver()
    addresses_of = addresses(resolver)
    first, second = (
        asyncio.create_task(addresses_of.resolve("slow.example", plain=False)) for _ in "12"
    )
    while not resolver.queries:
        await asyncio.sleep(0)
    first.cancel()
    resolver.released.set()

    assert await second == ["8.8.8.8"]
    assert await addresses_of.resolve("SLOW.example.", plain=False) == ["8.8.8.8"]
    assert resolver.queries == ["slow.example"]


async def test_a_failed_lookup_is_an_os_error_and_is_not_cached() -> None:
    resolver = Resolver()
    addresses_of = addresses(resolver)
    for _ in range(2):
        with pytest.raises(OSError, match=r"missing\.example"):
            await addresses_of.resolve("missing.example", plain=False)

    assert len(resolver.queries) == 2


@pytest.mark.parametrize("plain", [False, True])
async def test_a_name_resolves_to_its_allowed_addresses_only(plain: bool) -> None:
    class Both(Resolver):
        async def resolve_name(self, name: str, *, lifetime: float) -> Answer:
            return Answer(["10.6.0.1", "8.8.8.8"] if name == "both.example" else ["10.6.0.1"])

    addresses_of = addresses(Both())
    assert await addresses_of.resolve("both.example", plain=plain) == ["8.8.8.8"]
    for host in ("private.example", "10.6.0.1"):
        with pytest.raises(AddressRefused):
            await addresses_of.resolve(host, plain=plain)


async def test_the_hosts_file_takes_precedence_over_dns(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# local\n10.1.2.3 Hooks.internal hooks # ours\n::1 hooks\n")
    resolver = Resolver()
    addresses_of = AddressResolver(lambda address, plain: plain, resolver=resolver, hosts=hosts)  # type: ignore[arg-type]

    assert await addresses_of.resolve("hooks.internal", plain=True) == ["10.1.2.3"]
    assert await addresses_of.resolve("hooks", plain=True) == ["10.1.2.3", "::1"]
    assert resolver.queries == []
