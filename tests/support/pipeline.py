"""Router and delivery together, at one receiving server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self
from uuid import UUID

from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.ids import uuid7_text
from kernel.rpc import RpcClient
from mail import verp
from tests.support.delivery import Harness, make_content
from tests.support.polling import until
from tests.support.router import TOKEN, RouterHarness, context_of, screened
from tests.support.smtp_peer import SmtpPeer

ROUTE = """
[[route]]
domain = "receiver.example"
mx_hosts = ["{address}"]
site = "lab"
"""


class Pipeline:
    """peer: the host of mail to receiver.example, at the site lab."""

    def __init__(self, router: RouterHarness, delivery: Harness, peer: SmtpPeer) -> None:
        self.router, self.delivery, self.peer = router, delivery, peer
        self.sent: set[str] = set()  # message ids

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with self.router.running(), self.delivery.running() as delivery:
            self.topics = delivery.topics
            yield self

    @asynccontextmanager
    async def policies(self) -> AsyncIterator[tuple[Any, PolicyServiceStub]]:
        client = RpcClient("router", self.router.rpc_address, TOKEN)
        try:
            yield partial(client.call, deadline_s=60.0), PolicyServiceStub(client.channel)
        finally:
            await client.close()

    async def send(self, number: int) -> None:
        content = make_content()
        [reference] = await self.delivery.store_contents([content])
        contexts = []
        for _ in range(number):
            message_id = uuid7_text()
            context = context_of(
                f"{message_id}@receiver.example",
                message_id=message_id,
                tenant_id=self.delivery.tenant_id,
                email_id=content.email_id,
                domain_id=self.delivery.domain_id,
                content_ref=reference,
                content_bytes=content.ByteSize(),
                return_path=verp.return_path(
                    UUID(message_id), "bounces.sender.example", key=self.delivery.return_path_key
                ).address,
            )
            contexts.append(context)
            self.sent.add(message_id)
        await self.topics.publish([screened(one) for one in contexts])

    async def reasons(self) -> set[str]:
        """What the queues with mail wait for."""
        with self.router.database.connect() as connection:
            rows = connection.execute(
                "SELECT DISTINCT limited_by FROM router.queues JOIN router.messages"
                " USING (queue_id) WHERE state = 'queued'"
            ).fetchall()
        return {str(row[0]) for row in rows}

    async def wait_for_messages(self, number: int) -> None:
        await until(lambda: len(self.peer.messages) >= number)
