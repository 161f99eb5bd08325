"""Health checks, as operators see and run them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct

from kernel.errors import Unavailable
from kernel.host_challenge import HostChallenges, new_challenge
from services.ingest.api.callers import OF_OPERATOR
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import Time
from services.ingest.domain.health_checks import overall
from services.ingest.domain.problem import unavailable
from services.ingest.store.health_checks import StoredFinding


class HealthCheckResponse(Struct):
    """check: its name. subject: what it is about, such as an address, a pool, a host or a service.
    since: when the status began. detail: what was found. advice: how to mend it; empty unless it
    failed."""

    check: str
    subject: str
    status: Literal["passed", "failed"]
    since: Time
    checked_at: Time
    detail: str
    advice: str


class HealthReportResponse(Struct):
    """status: failed if that of a check is, unknown before the first. checks: those that failed
    first."""

    object: Literal["health_report"]
    status: Literal["passed", "failed", "unknown"]
    checks: list[HealthCheckResponse]


class HostChallengeResponse(Struct):
    """challenge: for the recipient of RCPT, `challenge+<challenge>@host`. responses: one of them is
    the text of the reply if the server at that host is the return path of this installation."""

    object: Literal["host_challenge"]
    challenge: str
    responses: list[str]


OPERATIONS = {
    "get /v1/health/checks": Operation("getHealthChecks", HealthReportResponse, access=OF_OPERATOR),
    "post /v1/health/checks": Operation(
        "runHealthChecks", HealthReportResponse, access=OF_OPERATOR
    ),
    "post /v1/health/bounces/read": Operation(
        "markBouncesRead", HealthReportResponse, access=OF_OPERATOR
    ),
    "post /v1/health/challenges": Operation(
        "createHostChallenge", HostChallengeResponse, access=OF_OPERATOR
    ),
}


class HealthCheckRunner(Protocol):
    async def load(self) -> list[StoredFinding]: ...

    async def run(self) -> list[StoredFinding]: ...

    async def mark_bounces_read(self) -> list[StoredFinding]: ...


class HealthResource:
    """Raises Problem."""

    def __init__(self, checks: HealthCheckRunner, challenges: HostChallenges) -> None:
        self._checks = checks
        self._challenges = challenges

    async def get(self) -> dict[str, Any]:
        """As they were found last, those that failed first."""
        return await self._as_json(self._checks.load)

    async def run(self) -> dict[str, Any]:
        """As they are now."""
        return await self._as_json(self._checks.run)

    async def mark_bounces_read(self) -> dict[str, Any]:
        """The refusals that the last checks have found are read."""
        return await self._as_json(self._checks.mark_bounces_read)

    def create_challenge(self) -> dict[str, Any]:
        """For a machine outside that looks whether a host leads to the return path."""
        challenge = new_challenge()
        responses = self._challenges.responses_to(challenge)
        return {"object": "host_challenge", "challenge": challenge, "responses": responses}

    @staticmethod
    async def _as_json(read: Callable[[], Awaitable[Sequence[StoredFinding]]]) -> dict[str, Any]:
        try:
            found = await read()
        except Unavailable as error:
            raise unavailable() from error
        status = overall(one.finding.status for one in found)
        return {"object": "health_report", "status": status, "checks": list(map(to_json, found))}


def to_json(one: StoredFinding) -> dict[str, Any]:
    return {
        "check": one.finding.check,
        "subject": one.finding.subject,
        "status": one.finding.status.value,
        "since": text_of(one.since),
        "checked_at": text_of(one.checked_at),
        "detail": one.finding.detail,
        "advice": one.finding.advice,
    }


def text_of(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
