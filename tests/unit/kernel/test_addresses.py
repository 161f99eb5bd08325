"""Names to addresses: without threads, once per name, and what is known without DNS."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import dns.exception
import pytest

from kernel.addresses import AddressRefused, AddressResolver

P = ParamSpec("P")


def alone(story: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @wraps(story)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(story(*args, **kwargs))

    return test


class Found:
    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    def addresses(self) -> Sequence[str]:
        return self._addresses


class Resolver:
    """Answers; names that begin with `slow` only when they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = asyncio.Event()

    async def resolve_name(self, name: str, *, lifetime: float) -> Found:
        self.asked.append(name)
        if name.startswith("slow"):
            async with asyncio.timeout(lifetime):
                await self.let_go.wait()
        if name.startswith("missing"):
            raise dns.exception.DNSException(name)  # type: ignore[no-untyped-call]
        return Found(["8.8.8.8"])


def is_shared(address: str, plain: bool) -> bool:
    return not address.startswith("10.6.")


def addresses(resolver: Resolver, hosts: Path = Path("/nowhere")) -> AddressResolver:
    return AddressResolver(is_shared, resolver=resolver, hosts=hosts)  # type: ignore[arg-type]


@alone
async def test_names_that_resolve_slowly_do_not_keep_a_good_one_waiting() -> None:
    resolver = Resolver()
    found = addresses(resolver)
    slow = [asyncio.create_task(found.resolve(f"slow{n}.example", plain=False)) for n in range(50)]
    while len(resolver.asked) < 50:
        await asyncio.sleep(0)

    assert await found.resolve("good.example", plain=False) == ["8.8.8.8"]
    assert not any(task.done() for task in slow)

    resolver.let_go.set()
    assert await asyncio.gather(*slow) == [["8.8.8.8"]] * 50


@alone
async def test_a_name_is_asked_once_for_all_who_wait_and_survives_who_gives_up() -> None:
    resolver = Resolver()
    found = addresses(resolver)
    first, second = (asyncio.create_task(found.resolve("slow.example", plain=False)) for _ in "12")
    while not resolver.asked:
        await asyncio.sleep(0)
    first.cancel()
    resolver.let_go.set()

    assert await second == ["8.8.8.8"]
    assert await found.resolve("SLOW.example.", plain=False) == ["8.8.8.8"]
    assert resolver.asked == ["slow.example"]


@alone
async def test_a_name_without_an_answer_is_an_os_error_and_asked_again() -> None:
    resolver = Resolver()
    found = addresses(resolver)
    for _ in range(2):
        with pytest.raises(OSError, match=r"missing\.example"):
            await found.resolve("missing.example", plain=False)

    assert len(resolver.asked) == 2


@alone
@pytest.mark.parametrize("plain", [False, True])
async def test_a_name_leads_to_the_addresses_that_may_be_called_alone(plain: bool) -> None:
    class Both(Resolver):
        async def resolve_name(self, name: str, *, lifetime: float) -> Found:
            return Found(["10.6.0.1", "8.8.8.8"] if name == "both.example" else ["10.6.0.1"])

    found = addresses(Both())
    assert await found.resolve("both.example", plain=plain) == ["8.8.8.8"]
    for host in ("private.example", "10.6.0.1"):
        with pytest.raises(AddressRefused):
            await found.resolve(host, plain=plain)


@alone
async def test_the_hosts_file_is_asked_before_dns(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# local\n10.1.2.3 Hooks.internal hooks # ours\n::1 hooks\n")
    resolver = Resolver()
    found = AddressResolver(lambda address, plain: plain, resolver=resolver, hosts=hosts)  # type: ignore[arg-type]

    assert await found.resolve("hooks.internal", plain=True) == ["10.1.2.3"]
    assert await found.resolve("hooks", plain=True) == ["10.1.2.3", "::1"]
    assert resolver.asked == []
