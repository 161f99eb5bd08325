"""What a second model says of messages."""

from random import Random

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.shield.v1.events_pb2 import (
    VERDICT_BLOCK,
    VERDICT_HOLD,
    VERDICT_PASS,
    Opinion,
    ShadowDiffered,
    Verdict,
)

OTHERS = {
    VERDICT_PASS: (VERDICT_HOLD, VERDICT_BLOCK),
    VERDICT_HOLD: (VERDICT_PASS, VERDICT_BLOCK),
}


def shadow_of(
    context: MessageContext, live: Verdict.ValueType, random: Random
) -> tuple[ShadowDiffered, str]:
    """Another verdict, and the figure that counts it; empty if none does."""
    other = random.choice(OTHERS[live])
    event = ShadowDiffered(
        message_id=context.message_id,
        context=context,
        live=Opinion(verdict=live),
        shadow=Opinion(verdict=other),
        shadow_version="2",
    )
    if live == VERDICT_PASS:
        return event, "would_hold"
    return event, "would_pass" if other == VERDICT_PASS else ""
