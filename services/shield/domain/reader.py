"""What reads messages, in a process that a message may end: bytes in, bytes out."""

from collections.abc import Callable
from functools import partial
from struct import Struct

from google.protobuf.message import DecodeError

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from services.shield.domain.rulebook import Rulebook, Thresholds, parse
from services.shield.domain.scoring import Opinion, Scorer, unread

ASKED = Struct("<?dd")  # whether to quote, and the tenant's thresholds: hold, block


def asked(content: bytes, limits: Thresholds, *, quote: bool = False) -> bytes:
    """A question to the reader. content: a serialised Content."""
    return ASKED.pack(quote, limits.hold, limits.block) + content


def start(rules: bytes) -> Callable[[bytes], bytes]:
    """The reader: questions to ScoreResponses. rules: the text of a rulebook."""
    return partial(answer, Scorer(parse(rules.decode())))


def answer(scorer: Scorer, question: bytes) -> bytes:
    quote, hold, block = ASKED.unpack_from(question)
    try:
        content = Content.FromString(question[ASKED.size :])
    except DecodeError:
        opinion = unread("content_unreadable", scorer.book, Verdict.VERDICT_HOLD)
    else:
        opinion = scorer.score(content, thresholds=Thresholds(hold, block), quote=quote)
    return told(opinion, scorer.book).SerializeToString()


def told(opinion: Opinion, book: Rulebook) -> ScoreResponse:
    return ScoreResponse(
        verdict=opinion.verdict,
        score=opinion.score,
        reasons=opinion.reasons,
        hold_score=opinion.thresholds.hold,
        block_score=opinion.thresholds.block,
        rules_version=book.version,
    )
