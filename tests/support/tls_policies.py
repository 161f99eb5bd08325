"""The MTA-STS policies of a domain, as a source and a store of the test give them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from services.delivery.clients.dane import DaneClient
from services.delivery.clients.mta_sts import MtaStsClient, MtaStsRecord
from services.delivery.loops.tls_policies import TlsPolicyResolver
from services.delivery.loops.tls_reports import TlsSessionCounter
from services.delivery.store.mta_sts import MtaStsPolicyStore, StoredMtaStsPolicy

DOMAIN = "receiver.example"
POLICY = MtaStsPolicy(MtaStsMode.ENFORCE, ("mx.receiver.example",), 86_400)
OLD = MtaStsPolicy(MtaStsMode.ENFORCE, ("old.receiver.example",), 86_400)
TTL_S = 600.0


@dataclass
class Source:
    """The record and the policy of a domain; an exception in place of one that fails."""

    record: str | Exception | None = "1"
    policy: MtaStsPolicy | Exception = POLICY
    requests: list[str] = field(default_factory=list)
    released: asyncio.Event | None = None  # of fetches, if they wait
    has_slots: bool = True

    def has_slot(self, _: str) -> bool:
        return self.has_slots

    async def close(self) -> None:
        pass

    async def look_up(self, domain: str) -> MtaStsRecord:
        self.requests.append(f"look up {domain}")
        await asyncio.sleep(0)
        if isinstance(self.record, Exception):
            raise self.record
        return MtaStsRecord(self.record, TTL_S)

    async def fetch(self, domain: str) -> MtaStsPolicy:
        self.requests.append(f"fetch {domain}")
        if self.released is not None:
            await self.released.wait()
        if isinstance(self.policy, Exception):
            raise self.policy
        return self.policy


@dataclass
class Store:
    stored: dict[str, StoredMtaStsPolicy] = field(default_factory=dict)

    async def load(self, domains: list[str]) -> list[StoredMtaStsPolicy | None]:
        return [self.stored.get(domain) for domain in domains]

    async def save(self, domain: str, policy_id: str, policy: MtaStsPolicy) -> None:
        self.stored[domain] = StoredMtaStsPolicy(policy, policy_id, 0.0, 86_400.0)


@dataclass
class Dane:
    """No domain has DANE, which is known once `released` is set."""

    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def look_up(self, _: str) -> tuple[None, float]:
        await self.released.wait()
        return None, TTL_S


async def all_done() -> None:
    """Wait for what the policies do in the background."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


async def until(is_reached: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not is_reached():
            await asyncio.sleep(0)


def policies_of(
    source: Source | None, store: Store | None = None, dane: Dane | None = None
) -> TlsPolicyResolver:
    return TlsPolicyResolver(
        cast(MtaStsClient | None, source),
        cast(MtaStsPolicyStore, store or Store()),
        counter=TlsSessionCounter(None),
        dane=cast(DaneClient | None, dane),
        exempt_sender="tls-reports@sender.example",
    )


def message(**context: object) -> DeliveryAssigned:
    context.setdefault("recipient", f"friend@{DOMAIN}")
    return DeliveryAssigned(context=MessageContext(**context))  # type: ignore[arg-type]
