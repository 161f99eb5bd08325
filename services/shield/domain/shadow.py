"""A second model beside the live one: which contents it scores, and where the two differ."""

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.shield.v1.events_pb2 import Opinion, ShadowDiffered, Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse

CRC_VALUES = 1 << 32
VERDICT_NAMES = {number: name.removeprefix("VERDICT_").lower() for name, number in Verdict.items()}


class SampledContent(NamedTuple):
    """A content that the live model has scored, with the messages that share it. request: to the
    child. live: a copy, because block lists may change the response."""

    events: tuple[MessageAccepted, ...]
    request: bytes
    live: Opinion


def is_sampled(content_ref: str, share: float) -> bool:
    """The same contents each time."""
    return crc32(content_ref.encode()) < share * CRC_VALUES


def verdicts_of(live: Opinion, shadow: Opinion) -> tuple[str, str]:
    """Their names."""
    return VERDICT_NAMES[live.verdict], VERDICT_NAMES[shadow.verdict]


def differences(
    events: Iterable[MessageAccepted], live: Opinion, shadow: Opinion
) -> list[ShadowDiffered]:
    """One for each message, if the verdicts differ."""
    if shadow.verdict == live.verdict:
        return []
    return [
        ShadowDiffered(
            message_id=event.message_id,
            context=event.context,
            live=live,
            shadow=shadow,
            shadow_version=shadow.model_version,
        )
        for event in events
    ]


def opinion_of(response: ScoreResponse) -> Opinion:
    version = response.learned_version or response.model_version
    return Opinion(verdict=response.verdict, score=response.score, model_version=version)
