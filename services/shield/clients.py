"""Who reads messages for us: a child, because what they are made of may end who reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel.child import CPU, CRASH, MEMORY, Answer, Child, Killed, Raised
from services.shield.domain.reader import told
from services.shield.domain.rulebook import Rulebook
from services.shield.domain.scoring import unread

DETAILS = {
    CPU: "to read it takes too much processor time",
    MEMORY: "to read it takes too much memory",
    CRASH: "it ends the process that reads it",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Questions (`domain.reader.asked`) to opinions."""

    child: Child
    book: Rulebook

    async def read(self, questions: Sequence[bytes]) -> list[ScoreResponse | Raised]:
        """One for each, in order. Raised is a mistake in the rules' code. Raises Unavailable."""
        return [self.understood(each) for each in await self.child.work(questions)]

    def understood(self, answer: Answer) -> ScoreResponse | Raised:
        if isinstance(answer, Raised):
            return answer
        if isinstance(answer, Killed):
            return self.unreadable(answer.reason)
        try:
            return ScoreResponse.FromString(answer)
        except DecodeError:
            return self.unreadable(CRASH)

    def unreadable(self, why: str) -> ScoreResponse:
        """Held and not blocked: only hold can be taken back."""
        hold, detail = Verdict.VERDICT_HOLD, DETAILS[why]
        return told(unread("content_too_complex", self.book, hold, detail=detail), self.book)
