"""How many policies are fetched at once, and for whom."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import dns.asyncresolver
import pytest

from kernel.downloads import DownloadedFile, Downloader
from services.delivery.clients import mta_sts as client
from services.delivery.clients.mta_sts import (
    FETCHES_MAX,
    OWNER_FETCHES_MAX,
    MtaStsClient,
    PolicyFetchFailed,
)
from tests.support.policy_server import policy_text


@dataclass
class Hosts:
    """Policy hosts. Those under `silent` never respond. open: requests without a response."""

    silent: str = "hanging.example"
    open: set[str] = field(default_factory=set)

    async def get(self, url: str, **_: object) -> DownloadedFile:
        self.open.add(url)
        try:
            if self.silent in url:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
        finally:
            self.open.discard(url)
        return DownloadedFile(policy_text("mx.receiver.example"), "text/plain", "")


def source_of(hosts: Hosts) -> MtaStsClient:
    resolver = cast(dns.asyncresolver.Resolver, None)
    return MtaStsClient(resolver, cast(Downloader, hosts))


async def test_domains_under_one_silent_domain_hold_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "FETCH_TIMEOUT_S", 3600.0)
    hosts = Hosts()
    source = source_of(hosts)
    async with asyncio.TaskGroup() as group:
        hanging = [
            group.create_task(source.fetch(f"d{n}.hanging.example")) for n in range(2 * FETCHES_MAX)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(hosts.open) == OWNER_FETCHES_MAX
        assert not source.has_slot("another.hanging.example")
        assert source.has_slot("receiver.example")
        async with asyncio.timeout(60):
            assert (await source.fetch("receiver.example")).mx == ("mx.receiver.example",)
        for one in hanging:
            one.cancel()
    assert source.has_slot("another.hanging.example")


async def test_waiting_for_others_is_not_the_failure_of_a_policy_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "FETCH_TIMEOUT_S", 0.05)
    source = source_of(Hosts(silent="silent.receiver.example"))
    names = [f"d{n}.silent.receiver.example" for n in range(10)]
    *failed, found = await asyncio.gather(
        *(source.fetch(one) for one in (*names, "d.receiver.example")), return_exceptions=True
    )
    assert {type(one) for one in failed} == {PolicyFetchFailed}
    assert not isinstance(found, BaseException)
    assert found.mx == ("mx.receiver.example",)
