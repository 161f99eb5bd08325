"""The client of the child process that reads messages: a hostile message may crash it."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel.child import CPU, CRASH, MEMORY, Child, ChildKilled, ChildRaised, ChildResult
from services.shield.domain.reader import to_response
from services.shield.domain.rulebook import Rulebook
from services.shield.domain.scoring import unreadable_result

DETAILS = {
    CPU: "to read it takes too much processor time",
    MEMORY: "to read it takes too much memory",
    CRASH: "it ends the process that reads it",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Screens messages in a child process: requests (`domain.reader`) to responses."""

    child: Child
    book: Rulebook

    async def read(self, requests: Sequence[bytes]) -> list[ScoreResponse | ChildRaised]:
        """One for each, in order. Raised is a mistake in the rules' code. Raises Unavailable."""
        return [self.parse_answer(each) for each in await self.child.work(requests)]

    def parse_answer(self, answer: ChildResult) -> ScoreResponse | ChildRaised:
        if isinstance(answer, ChildRaised):
            return answer
        if isinstance(answer, ChildKilled):
            return self.held_result(answer.reason)
        try:
            return ScoreResponse.FromString(answer)
        except DecodeError:
            return self.held_result(CRASH)

    def held_result(self, why: str) -> ScoreResponse:
        """Held and not blocked: only hold can be taken back."""
        hold, detail = Verdict.VERDICT_HOLD, DETAILS[why]
        return to_response(
            unreadable_result("content_too_complex", self.book, hold, detail=detail), self.book
        )
