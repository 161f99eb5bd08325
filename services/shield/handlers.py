"""The door for events: open the content, have it read, say what was thought."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import Envelope, MessageAccepted
from contracts.shield.v1.events_pb2 import MessageScreened, Reason, Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import clock, metrics
from kernel.child import Raised
from kernel.content import ContentStore, Found, Missing
from kernel.crypto import SealBroken, Secrets, unseal
from kernel.errors import BadSetting, Unavailable
from kernel.outcome import Emit, Outcome, Park
from kernel.table import Table
from services.shield.clients import Reader
from services.shield.domain.reader import asked, told
from services.shield.domain.scoring import of_tenant, unread

MESSAGES_PER_TURN = 16  # are unsealed before others get theirs

WORDS = {number: name.removeprefix("VERDICT_").lower() for name, number in Verdict.items()}
COUNTS = {number: metrics.screened.labels(word) for number, word in WORDS.items() if number}

UNKNOWN = Park("the record of its tenant has not come", alarming=False)
NO_KEY = Park("the content key of its tenant cannot be opened")

Opinion: TypeAlias = ScoreResponse | Raised | Park
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handlers:
    content: ContentStore
    tenants: Table[Tenant]
    secrets: Secrets
    reader: Reader
    tenant_within_s: float

    async def on_accepted(self, batch: Sequence[MessageAccepted]) -> list[Outcome]:
        """One read of the store; recipients of one email share its score."""
        envelopes = {event.envelope.content_ref: event.envelope for event in batch}
        tenants = await self.tenants.fetch({each.tenant_id for each in envelopes.values()})
        if any(map(self.is_early, envelopes.values())):
            raise Unavailable("the directory")
        sealed = await self.content.get_many(list(envelopes))
        questions: dict[str, bytes] = {}
        opinions: dict[str, Opinion] = {}
        for count, (ref, body) in enumerate(zip(envelopes, sealed, strict=True), 1):
            envelope = envelopes[ref]
            found = self.opened(tenants.get(envelope.tenant_id), envelope, body)
            if isinstance(found, bytes):
                questions[ref] = found
            else:
                opinions[ref] = found
            if count % MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
        answers = await self.reader.read(list(questions.values()))
        opinions.update(zip(questions, answers, strict=True))
        return [self.tell(event, opinions[event.envelope.content_ref]) for event in batch]

    def is_early(self, envelope: Envelope) -> bool:
        """Whether the record of its tenant may be on its way still. One that does not come must not
        hold up those behind it for ever: their messages are parked alone, and ingest's audit offers
        them again."""
        age_s = clock.now().timestamp() - envelope.accepted_at.ToMilliseconds() / 1000
        return age_s < self.tenant_within_s and not self.tenants.knows(envelope.tenant_id)

    def opened(
        self, tenant: Tenant | None, envelope: Envelope, body: Found
    ) -> bytes | ScoreResponse | Park:
        """A question to the reader, or what can be said without.

        While the store is away everybody waits. What cannot be read although the store is there
        is held alone, and not blocked: only hold can be taken back. Held mail expires.
        With its tenant deleted, though, so is the key, and nobody is left to review it: blocked.
        """
        if tenant is None and self.tenants.was_deleted(envelope.tenant_id):
            return self.unread("tenant_deleted", Verdict.VERDICT_BLOCK)
        if tenant is None:
            return UNKNOWN
        if isinstance(body, Missing | Unavailable):
            return self.unread("content_missing", Verdict.VERDICT_HOLD)
        try:
            content = self.unsealed(tenant, envelope, body)
        except SealBroken:
            return self.unread("content_unreadable", Verdict.VERDICT_HOLD)
        except BadSetting:
            logger.exception("shield.no_key", extra={"tenant_id": tenant.tenant_id})
            return NO_KEY
        thresholds = self.reader.book.thresholds
        return asked(content, of_tenant(tenant.hold_score, tenant.block_score, thresholds))

    def unread(self, rule: str, verdict: Verdict.ValueType) -> ScoreResponse:
        return told(unread(rule, self.reader.book, verdict), self.reader.book)

    def unsealed(self, tenant: Tenant, envelope: Envelope, body: bytes) -> bytes:
        """Raises SealBroken, or BadSetting when the key itself cannot be opened."""
        key = self.secrets.decrypt(tenant.content_key)
        return unseal(key, body, f"{envelope.tenant_id}/{envelope.email_id}".encode())

    def tell(self, event: MessageAccepted, opinion: Opinion) -> Outcome:
        """A message whose key cannot be opened is parked alone: ingest's audit offers it again, and
        where many park our secrets are at fault and the brake stops the service before harm is
        done. So is one that the rules' code fails on: there the fault is ours."""
        if isinstance(opinion, Park):
            return opinion
        if isinstance(opinion, Raised):
            return Park(f"scoring failed: {opinion.error}")
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
                rules_version=opinion.rules_version,
            )
        )


def log(event: MessageAccepted, opinion: ScoreResponse) -> None:
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
