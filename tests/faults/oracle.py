"""What must be true afterwards, whatever happened: read from four logs that know nothing of each
other: the client's, the sink's, the engine's event log and the webhooks."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import CLOSED_STATE_DELIVERED, MessageClosed
from services.events.domain.log_event import EventKind
from tests.faults.world import World, lines

EVENTS_SQL = (
    b"SELECT kind, payload FROM events.log"
    b" UNION ALL SELECT kind, payload FROM events.unpartitioned_log"
)
TERMINAL = {
    "email.delivered", "email.bounced", "email.failed", "email.suppressed", "email.canceled",
}  # fmt: skip
DELAYED = "email.delivery_delayed"  # may be told more than once


@dataclass(frozen=True, slots=True)
class Evidence:
    """By recipient, of which each message has its own.

    accepted: promised by a 202. refused: answered with an error. copies: at the sink.
    closed: MessageClosed in the log, by state. flagged: ambiguous attempts in the log.
    told: ids of webhooks, each with its type.
    """

    accepted: frozenset[str]
    refused: frozenset[str]
    copies: Mapping[str, int]
    closed: Mapping[str, list[int]]
    flagged: Mapping[str, int]
    told: Mapping[str, set[tuple[str, str]]]
    flags_allowed: int
    open_rows: int = 0


@dataclass
class Verdict:
    problems: list[str] = field(default_factory=list)
    messages: int = 0
    copies: int = 0
    flagged: int = 0

    def expect(self, true: bool, problem: str) -> None:
        if not true:
            self.problems.append(problem)


def judge(evidence: Evidence) -> Verdict:
    """With a healthy sink: every accepted message delivered, once, or once more per flag."""
    verdict = Verdict(
        messages=len(evidence.accepted),
        copies=sum(evidence.copies.values()),
        flagged=sum(evidence.flagged.values()),
    )
    for recipient in sorted(evidence.accepted):
        _judge_one(recipient, evidence, verdict)
    strangers = evidence.copies.keys() - evidence.accepted
    verdict.expect(not strangers, f"sent without a promise: {sorted(strangers)[:5]}")
    verdict.expect(
        verdict.flagged <= evidence.flags_allowed,
        f"{verdict.flagged} attempts are called ambiguous, {evidence.flags_allowed} could be",
    )
    verdict.expect(evidence.open_rows == 0, f"{evidence.open_rows} messages are still open")
    return verdict


def _judge_one(recipient: str, evidence: Evidence, verdict: Verdict) -> None:
    copies = evidence.copies.get(recipient, 0)
    flagged = evidence.flagged.get(recipient, 0)
    closed = evidence.closed.get(recipient, [])
    told = evidence.told.get(recipient, set())
    verdict.expect(copies >= 1, f"{recipient}: lost")
    verdict.expect(copies <= 1 + flagged, f"{recipient}: {copies} copies, {flagged} flagged")
    verdict.expect(closed == [CLOSED_STATE_DELIVERED], f"{recipient}: closed {closed}")
    kinds = Counter(kind for _, kind in told)
    verdict.expect(
        [kind for kind in kinds if kind in TERMINAL] == ["email.delivered"],
        f"{recipient}: webhooks told {sorted(told)}",
    )
    again = [kind for kind, ids in kinds.items() if ids > 1 and kind != DELAYED]
    verdict.expect(not again, f"{recipient}: webhooks told {again} by more than one id")


def collect(world: World) -> Evidence:
    closed: dict[str, list[int]] = {}
    flagged: Counter[str] = Counter()
    with world.database() as connection:
        rows: list[tuple[int, bytes]] = connection.execute(EVENTS_SQL).fetchall()  # type: ignore[assignment]
        for kind, payload in rows:
            if kind == EventKind.CLOSED:
                event = MessageClosed.FromString(bytes(payload))
                closed.setdefault(event.recipient, []).append(event.state)
            elif kind == EventKind.ATTEMPTED:
                attempt = DeliveryAttempted.FromString(bytes(payload))
                flagged[attempt.recipient] += attempt.ambiguous
    copies = Counter(str(line["recipient"]) for line in lines(world.folder / "sink.jsonl"))
    return Evidence(
        accepted=frozenset(world.client.accepted),
        refused=frozenset(world.client.refused),
        copies=copies,
        closed=closed,
        flagged=flagged,
        told=told_by_webhooks(world),
        flags_allowed=world.at_data_sent,
        open_rows=world.count("SELECT count(*) FROM ingest.messages WHERE closed_state IS NULL"),
    )


def told_by_webhooks(world: World) -> dict[str, set[tuple[str, str]]]:
    told: dict[str, set[tuple[str, str]]] = {}
    for line in lines(world.folder / "webhooks.jsonl"):
        body = json.loads(str(line["body"]))
        data = body["data"]
        recipient = data.get("recipient") or data["to"][0]
        told.setdefault(recipient, set()).add((str(line["webhook_id"]), body["type"]))
    return told
