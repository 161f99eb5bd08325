"""A second model beside the live one: which contents it scores, and where the two differ."""

from typing import NamedTuple
from zlib import crc32

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.shield.v1.events_pb2 import Opinion, ShadowDiffered, Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse

CRC_VALUES = 1 << 32
VERDICT_NAMES = {number: name.removeprefix("VERDICT_").lower() for name, number in Verdict.items()}


class Screened(NamedTuple):
    """A content that the live model has scored, with the messages that share it. request: to the
    child. live: a copy, because block lists may change the response."""

    events: tuple[MessageAccepted, ...]
    request: bytes
    live: Opinion


def is_sampled(content_ref: str, share: float) -> bool:
    """The same contents each time."""
    return crc32(content_ref.encode()) < share * CRC_VALUES


def differences(screened: Screened, shadow: ScoreResponse) -> list[ShadowDiffered]:
    """One for each message, if the verdicts differ."""
    if shadow.verdict == screened.live.verdict:
        return []
    return [
        ShadowDiffered(
            message_id=event.message_id,
            context=event.context,
            live=screened.live,
            shadow=opinion_of(shadow),
            shadow_version=shadow.model_version,
        )
        for event in screened.events
    ]


def opinion_of(response: ScoreResponse) -> Opinion:
    return Opinion(
        verdict=response.verdict, score=response.score, model_version=response.model_version
    )
