"""Kafka consumer: MessageClosed ends the audit of a message."""

from collections.abc import Sequence

from contracts.router.v1.events_pb2 import MessageClosed
from kernel.database import Transaction
from kernel.handler_result import Drop, HandlerResult
from services.ingest.store.message_audit import MessageAuditStore


class Handlers:
    def __init__(self, store: MessageAuditStore) -> None:
        self._store = store

    async def on_closed(
        self, batch: Sequence[MessageClosed], tx: Transaction
    ) -> list[HandlerResult]:
        """Record the terminal states. A message that is no longer stored needs nothing."""
        moved = await self._store.close(tx, [(event.message_id, event.state) for event in batch])
        return [
            Drop("closed" if event.message_id in moved else "repeat or unknown") for event in batch
        ]
