"""Delivery with its return path: mail servers hand mail in, and events come out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import metrics
from kernel.embedded.folder import free_port
from kernel.topics import contract_of
from tests.support.delivery import Harness, Running
from tests.support.polling import until
from tests.support.records import all_of
from tests.support.returned_mail import hand_in
from tests.support.smtp_peer import SmtpPeer

FEEDBACK = "fbl@mx.sender.example"
HOST = "bounces.sender.example"
Report = BounceReceived | ComplaintReceived


@dataclass
class World:
    """Delivery with its return path, and a mail server that takes everything."""

    harness: Harness
    running: Running
    peer: SmtpPeer
    port: int

    async def deliver(self, recipient: str = "ann@receiver.example") -> DeliveryAssigned:
        [sent] = await self.harness.assign(recipient, at=self.peer.address)
        await self.running.send([sent])
        return sent

    async def hand_in(self, mail: bytes, *to: str, sender: str = "") -> tuple[int, str]:
        return await asyncio.to_thread(hand_in, self.port, mail, *to, sender=sender)

    async def reports_on(self, sent: DeliveryAssigned) -> list[Report]:
        """Those that are on the topics now."""
        found: list[Report] = []
        for kind in (BounceReceived, ComplaintReceived):
            topic = self.harness.prefix + contract_of(kind.DESCRIPTOR).topic.name
            records = await all_of(topic, self.harness.bootstrap_servers)
            found += [kind.FromString(one.value) for one in records]
        return [one for one in found if one.message_id == sent.message_id]

    async def await_reports(self, sent: DeliveryAssigned, number: int) -> list[Report]:
        async def find() -> list[Report] | None:
            found = await self.reports_on(sent)
            return found if len(found) >= number else None

        return await until(find)


@asynccontextmanager
async def world_of(harness: Harness, **settings: Any) -> AsyncIterator[World]:  # noqa: ANN401
    """Without settings, and with a harness of a module's loop, delivery goes on running for the
    next test."""
    is_shared = harness.loop is not None and not settings
    port = harness.return_path_port if is_shared else free_port()
    given = {
        "return_path_listen": f"127.0.0.1:{port}",
        "return_path_hostname": "mx.sender.example",
        "feedback_addresses": [FEEDBACK],
        **settings,
    }
    async with SmtpPeer() as peer, AsyncExitStack() as exits:
        if is_shared:
            running = await harness.share(**given)
        else:
            running = await exits.enter_async_context(harness.running(**given))
        yield World(harness, running, peer, port)


def counted(result: str) -> float:
    return float(metrics.returned_mail.labels(result)._value.get())
