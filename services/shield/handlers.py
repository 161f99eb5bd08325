"""The door for events: open the content, score it, say what was thought."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import Envelope, MessageAccepted
from contracts.shield.v1.events_pb2 import MessageScreened, Reason, Verdict
from kernel import metrics
from kernel.content import ContentStore, Found, Missing
from kernel.crypto import SealBroken, Secrets, unseal
from kernel.errors import BadSetting, Unavailable
from kernel.outcome import Emit, Outcome, Park
from kernel.table import Table
from services.shield.domain.scoring import Opinion, Scorer, of_tenant, unread

# Scoring is CPU: between so many messages (about 4 ms) the loop serves a dry run or a heartbeat.
MESSAGES_PER_TURN = 16

WORDS = {number: name.removeprefix("VERDICT_").lower() for name, number in Verdict.items()}
COUNTS = {number: metrics.screened.labels(word) for number, word in WORDS.items() if number}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handlers:
    content: ContentStore
    tenants: Table[Tenant]
    secrets: Secrets
    scorer: Scorer

    async def on_accepted(self, batch: Sequence[MessageAccepted]) -> list[Outcome]:
        """One read of the store; recipients of one email share its score."""
        envelopes = {event.envelope.content_ref: event.envelope for event in batch}
        wanted = {each.tenant_id for each in envelopes.values()}
        if not self.tenants.replayed.is_set() and not all(map(self.tenants.knows, wanted)):
            raise Unavailable("the directory")  # what is unknown before its end is not gone
        tenants = await self.tenants.fetch(wanted)
        sealed = await self.content.get_many(list(envelopes))
        opinions: dict[str, Opinion | None] = {}
        for count, (ref, body) in enumerate(zip(envelopes, sealed, strict=True), 1):
            envelope = envelopes[ref]
            opinions[ref] = self.opinion(tenants.get(envelope.tenant_id), envelope, body)
            if count % MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
        return [self.tell(event, opinions[event.envelope.content_ref]) for event in batch]

    def opinion(self, tenant: Tenant | None, envelope: Envelope, body: Found) -> Opinion | None:
        """None: without the tenant's key nothing can be said.

        While the store is away everybody waits. What cannot be read although the store is there
        is held alone, and not blocked: only hold can be taken back. Held mail expires.
        With its tenant deleted, though, so is the key, and nobody is left to review it: blocked.
        """
        if tenant is None and self.tenants.was_deleted(envelope.tenant_id):
            return unread("tenant_deleted", self.scorer.book, Verdict.VERDICT_BLOCK)
        if tenant is None:
            return None
        if isinstance(body, Missing | Unavailable):
            return unread("content_missing", self.scorer.book, Verdict.VERDICT_HOLD)
        try:
            content = Content.FromString(self.unsealed(tenant, envelope, body))
        except (SealBroken, DecodeError):
            return unread("content_unreadable", self.scorer.book, Verdict.VERDICT_HOLD)
        except BadSetting:
            logger.exception("shield.no_key", extra={"tenant_id": tenant.tenant_id})
            return None
        limits = of_tenant(tenant.hold_score, tenant.block_score, self.scorer.book.thresholds)
        return self.scorer.score(content, thresholds=limits)

    def unsealed(self, tenant: Tenant, envelope: Envelope, body: bytes) -> bytes:
        """Raises SealBroken, or BadSetting when the key itself cannot be opened."""
        key = self.secrets.decrypt(tenant.content_key)
        return unseal(key, body, f"{envelope.tenant_id}/{envelope.email_id}".encode())

    def tell(self, event: MessageAccepted, opinion: Opinion | None) -> Outcome:
        """A message without a key is parked alone: ingest's audit offers it again, and where many
        park the directory is at fault and the brake stops the service before harm is done."""
        if opinion is None:
            return Park("no content key: its tenant is not in the directory, or its key is sealed")
        COUNTS[opinion.verdict].inc()
        log(event, opinion)
        return Emit(
            MessageScreened(
                message_id=event.message_id,
                message_class=event.message_class,
                envelope=event.envelope,
                verdict=opinion.verdict,
                score=opinion.score,
                reasons=opinion.reasons,
                rules_version=self.scorer.book.version,
            )
        )


def log(event: MessageAccepted, opinion: Opinion) -> None:
    """Rules, never what they saw: content does not go into logs."""
    level = logging.DEBUG if opinion.verdict == Verdict.VERDICT_PASS else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "shield.screened",
            extra={
                "message_id": event.message_id,
                "email_id": event.envelope.email_id,
                "tenant_id": event.envelope.tenant_id,
                "verdict": WORDS[opinion.verdict],
                "score": opinion.score,
                "rules": named(opinion.reasons),
            },
        )


def named(reasons: Sequence[Reason]) -> dict[str, float]:
    return {each.rule: each.score for each in reasons}
