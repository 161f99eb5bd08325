"""Kafka consumer: decrypt the content, screen it, emit the verdict."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted, MessageContext
from contracts.shield.v1.events_pb2 import (
    MessageScreened,
    ScoreReason,
    ShadowDiffered,
    Verdict,
)
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import clock, metrics
from kernel.child import ChildRaised
from kernel.content import ContentNotFound, ContentStore, ReadResult
from kernel.crypto import SealBroken, SecretKeyring, unseal
from kernel.errors import ConfigError, Unavailable
from kernel.handler_result import DeadLetter, Emit, HandlerResult
from kernel.table import ReplicatedTable
from services.shield.clients.link_lists import LinkBlockLists
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.scoring import thresholds_of_tenant
from services.shield.domain.screening import ResponseExtra, encode_request
from services.shield.domain.shadow import is_sampled
from services.shield.handlers.campaigns import CampaignMembership, CampaignResolver
from services.shield.handlers.comparison import compare

MESSAGES_PER_TURN = 16  # decrypted before other tasks run

VERDICT_NAMES = {number: name.removeprefix("VERDICT_").lower() for name, number in Verdict.items()}
SCREENED_COUNTERS = {
    number: metrics.screened.labels(word) for number, word in VERDICT_NAMES.items() if number
}

TENANT_UNKNOWN = DeadLetter("the tenant is unknown", alarming=False)
CONTENT_KEY_MISSING = DeadLetter("the content key of the tenant cannot be decrypted")

Screening: TypeAlias = ScoreResponse | ChildRaised | DeadLetter
logger = logging.getLogger(__name__)


Observer: TypeAlias = Callable[
    [Sequence[MessageAccepted], Mapping[str, bytes], Mapping[str, Screening]], None
]
"""Gets a batch, the requests to the child and what came of each content, by reference."""


@dataclass(frozen=True, slots=True)
class ScreeningHandler:
    content: ContentStore
    tenants: ReplicatedTable[Tenant]
    secrets: SecretKeyring
    screening_child: ScreeningChild
    tenant_within_s: float
    link_lists: LinkBlockLists | None = None  # None: no list of domains is queried
    campaigns: CampaignResolver | None = None  # None: mail teaches nothing
    observe: Observer | None = None
    shadow_share: float = 0.0  # of the contents that a version of what was learned scores too

    async def on_accepted(self, batch: Sequence[MessageAccepted]) -> list[HandlerResult]:
        """Read the contents in one call; the recipients of an email share its score."""
        contexts = {event.context.content_ref: event.context for event in batch}
        tenants = await self.tenants.wait_for({each.tenant_id for each in contexts.values()})
        if any(map(self.is_tenant_pending, contexts.values())):
            raise Unavailable("the directory")
        sealed = await self.content.get_many(list(contexts))
        requests: dict[str, bytes] = {}
        screenings: dict[str, Screening] = {}
        for count, (ref, body) in enumerate(zip(contexts, sealed, strict=True), 1):
            context = contexts[ref]
            found = self.request_for(tenants.get(context.tenant_id), context, body)
            if isinstance(found, bytes):
                requests[ref] = found
            else:
                screenings[ref] = found
            if count % MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
        responses = await self.screening_child.screen(list(requests.values()))
        screenings.update(zip(requests, responses, strict=True))
        if self.observe is not None:  # of the model alone
            self.observe(batch, requests, screenings)
        differing = compare(batch, screenings) if self.shadow_share else {}
        if self.link_lists:
            await self.link_lists.weigh(responses)
        memberships = await self.memberships(batch, screenings, requests)
        return [
            self.result_for(
                event,
                screenings[event.context.content_ref],
                memberships.get(event.context.content_ref, CampaignMembership()),
                differing=differing.get(event.message_id),
            )
            for event in batch
        ]

    async def memberships(
        self,
        batch: Sequence[MessageAccepted],
        screenings: Mapping[str, Screening],
        requests: Mapping[str, bytes],
    ) -> Mapping[str, CampaignMembership]:
        """The campaigns of contents, by reference. What never leaves is in none, and neither is
        test mail."""
        if self.campaigns is None:
            return {}
        screened = (
            (event.context, found)
            for event in batch
            if isinstance(found := screenings[event.context.content_ref], ScoreResponse)
            and found.verdict != Verdict.VERDICT_BLOCK
            and not event.context.test
        )
        return await self.campaigns.memberships(screened, requests)

    def is_tenant_pending(self, context: MessageContext) -> bool:
        """True if the record of its tenant may still arrive. A record that never arrives must not
        delay other messages: after the time limit only its own messages are dead-lettered, and
        ingest's audit publishes them again."""
        age_s = clock.now().timestamp() - context.accepted_at.ToMilliseconds() / 1000
        return age_s < self.tenant_within_s and not self.tenants.has_record(context.tenant_id)

    def request_for(
        self, tenant: Tenant | None, context: MessageContext, body: ReadResult
    ) -> bytes | ScoreResponse | DeadLetter:
        """A request to the child, or the result if none is needed.

        While the content store is unavailable all messages wait. A single content that cannot be
        read is held, not blocked, because only a hold can be reversed; held mail expires. If the
        tenant was deleted, so was the key, and no one can review the message: it is blocked.
        """
        if tenant is None and self.tenants.was_deleted(context.tenant_id):
            return self.screening_child.unreadable("tenant_deleted", Verdict.VERDICT_BLOCK)
        if tenant is None:
            return TENANT_UNKNOWN
        if isinstance(body, ContentNotFound | Unavailable):
            return self.screening_child.unreadable("content_missing", Verdict.VERDICT_HOLD)
        try:
            content = self.decrypt(tenant, context, body)
        except SealBroken:
            return self.screening_child.unreadable("content_unreadable", Verdict.VERDICT_HOLD)
        except ConfigError:
            logger.exception("shield.content_key.missing", extra={"tenant_id": tenant.tenant_id})
            return CONTENT_KEY_MISSING
        thresholds = self.screening_child.thresholds
        limits = thresholds_of_tenant(tenant.hold_score, tenant.block_score, thresholds)
        extra = ResponseExtra.HOSTS if self.link_lists else ResponseExtra.NONE
        if self.campaigns is not None and not context.test:
            extra |= ResponseExtra.FINGERPRINT
        if self.shadow_share and is_sampled(context.content_ref, self.shadow_share):
            extra |= ResponseExtra.SHADOW
        return encode_request(content, limits, extra)

    def decrypt(self, tenant: Tenant, context: MessageContext, body: bytes) -> bytes:
        """Raises SealBroken, or ConfigError if the tenant's key cannot be decrypted."""
        key = self.secrets.decrypt(tenant.content_key)
        return unseal(key, body, f"{context.tenant_id}/{context.email_id}".encode())

    def result_for(
        self,
        event: MessageAccepted,
        screening: Screening,
        membership: CampaignMembership,
        *,
        differing: ShadowDiffered | None = None,
    ) -> HandlerResult:
        """A message whose key cannot be decrypted is dead-lettered alone, and ingest's audit
        publishes it again; if there are many, our secrets are wrong, and the guard stops the
        service. A message is also dead-lettered if the rules' code fails on it, which is our bug.
        """
        if isinstance(screening, DeadLetter):
            return screening
        if isinstance(screening, ChildRaised):
            return DeadLetter(f"scoring failed: {screening.error}")
        SCREENED_COUNTERS[screening.verdict].inc()
        log_screening(event, screening)
        screened = MessageScreened(
            message_id=event.message_id,
            priority=event.priority,
            context=event.context,
            verdict=screening.verdict,
            score=screening.score,
            reasons=screening.reasons,
            rules_version=screening.rules_version,
            model_version=screening.model_version,
            learned_version=screening.learned_version,
        )
        others: list[Message] = [differing] if differing else []
        if not membership.campaign_id:
            return Emit(screened, *others)
        screened.fingerprint.CopyFrom(screening.fingerprint)
        screened.context.campaign_id = membership.campaign_id
        screened.context.campaign_limited = membership.is_limited
        screened.campaign_ordinal = membership.ordinal
        return Emit(screened, *membership.opened, *others)


def log_screening(event: MessageAccepted, screening: ScoreResponse) -> None:
    """Log the rules without their details, because content must not be logged."""
    level = logging.DEBUG if screening.verdict == Verdict.VERDICT_PASS else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "shield.screened",
            extra={
                "message_id": event.message_id,
                "email_id": event.context.email_id,
                "tenant_id": event.context.tenant_id,
                "verdict": VERDICT_NAMES[screening.verdict],
                "score": screening.score,
                "model_version": screening.model_version,
                "rules": scores_by_rule(screening.reasons),
            },
        )


def scores_by_rule(reasons: Sequence[ScoreReason]) -> dict[str, float]:
    return {each.rule: each.score for each in reasons}
