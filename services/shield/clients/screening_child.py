"""Client of the child process that screens messages: a hostile message can crash it."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel.child import CPU, CRASH, MEMORY, Child, ChildKilled, ChildRaised, ChildResult
from services.shield.domain.rulebook import Thresholds
from services.shield.domain.scoring import unreadable_result
from services.shield.domain.screening import ScorerVersion, to_response

DETAILS = {
    CPU: "reading the content takes too much CPU time",
    MEMORY: "reading the content takes too much memory",
    CRASH: "reading the content crashes the parser",
}


@dataclass(frozen=True, slots=True)
class ScreeningChild:
    """Screens messages in a child process; the requests are those of `domain.screening`."""

    child: Child
    thresholds: Thresholds  # the default ones
    versions: ScorerVersion

    async def screen(self, requests: Sequence[bytes]) -> list[ScoreResponse | ChildRaised]:
        """One result per request, in order; ChildRaised is a bug in the rules' code. Raises
        Unavailable."""
        return [self.parse_response(each) for each in await self.child.process(requests)]

    def parse_response(self, response: ChildResult) -> ScoreResponse | ChildRaised:
        if isinstance(response, ChildRaised):
            return response
        if isinstance(response, ChildKilled):
            return self.held_result(response.reason)
        try:
            return ScoreResponse.FromString(response)
        except DecodeError:
            return self.held_result(CRASH)

    def held_result(self, why: str) -> ScoreResponse:
        """Hold instead of block, because only a hold can be reversed."""
        return self.unreadable("content_too_complex", Verdict.VERDICT_HOLD, detail=DETAILS[why])

    def unreadable(
        self, rule: str, verdict: Verdict.ValueType, *, detail: str = ""
    ) -> ScoreResponse:
        result = unreadable_result(rule, self.thresholds, verdict, detail=detail)
        return to_response(result, self.versions)
