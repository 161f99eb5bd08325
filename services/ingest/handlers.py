"""Kafka consumers: MessageClosed ends the audit of a message, HeldMessageReviewed goes to the audit
log, CertificateChanged says whether a tracking host can be used."""

from collections.abc import Sequence

from contracts.events.v1.events_pb2 import CertificateChanged
from contracts.router.v1.events_pb2 import HeldMessageReviewed, MessageClosed
from kernel.database import Transaction
from kernel.handler_result import Drop, HandlerResult
from services.ingest.store.message_audit import MessageAuditStore
from services.ingest.store.review_log import record_reviews
from services.ingest.store.tracking_hosts import save_certificates


class MessageClosedHandler:
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


async def on_reviewed(batch: Sequence[HeldMessageReviewed], tx: Transaction) -> list[HandlerResult]:
    """Record who released or rejected a held message, and why."""
    await record_reviews(tx, batch)
    return [Drop("recorded") for _ in batch]


async def on_certificate(
    batch: Sequence[CertificateChanged], tx: Transaction
) -> list[HandlerResult]:
    """Keep what is new in the directory: then new mail has the host, and the API shows it."""
    newest = {one.host: one for one in sorted(batch, key=lambda one: one.version)}
    saved = await save_certificates(tx, newest)
    return [Drop("saved" if one.host in saved else "repeat or unknown") for one in batch]
