"""The oracle: checks what must be true after any fault, from four independent logs: those of the
client, the sink, the engine's events and the webhook receiver."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_SUPPRESSED,
    MessageClosed,
)
from services.events.domain.log_event import EventKind
from tests.faults.world import World, read_json_lines

EVENTS_SQL = (
    b"SELECT kind, payload FROM events.log"
    b" UNION ALL SELECT kind, payload FROM events.unpartitioned_log"
)
TERMINAL = {
    "email.delivered", "email.bounced", "email.failed", "email.suppressed", "email.canceled",
}  # fmt: skip
DELIVERED, SUPPRESSED = "email.delivered", "email.suppressed"
# A message may have several such events.
REPEATABLE = {"email.delivery_delayed", "email.opened", "email.clicked"}
# After these its recipient is suppressed, and a flagged attempt is not repeated.
RETURNED = {"email.bounced", "email.complained"}


@dataclass(frozen=True, slots=True)
class Observations:
    """Observations by recipient; each message has its own recipient.

    accepted: the response was 202. refused: the response was an error. copies: at the sink.
    closed: states of MessageClosed in the log. flagged: ambiguous attempts in the log.
    webhooks: ids and types of received webhooks. reacted: the webhook that tells of the recipient's
    reaction, if there was one. sent_again: of each of
    these one more copy may have arrived, which is not flagged, and its webhooks.
    """

    accepted: frozenset[str]
    refused: frozenset[str]
    copies: Mapping[str, int]
    closed: Mapping[str, list[int]]
    flagged: Mapping[str, int]
    webhooks: Mapping[str, set[tuple[str, str]]]
    flags_allowed: int
    open_rows: int = 0
    reacted: Mapping[str, str] = field(default_factory=dict)
    sent_again: frozenset[str] = frozenset()


@dataclass
class Report:
    problems: list[str] = field(default_factory=list)
    messages: int = 0
    copies: int = 0
    flagged: int = 0

    def expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems.append(problem)


def check(observations: Observations) -> Report:
    """The sink is healthy: every accepted message must be delivered once, or once more per flag."""
    report = Report(
        messages=len(observations.accepted),
        copies=sum(observations.copies.values()),
        flagged=sum(observations.flagged.values()),
    )
    for recipient in sorted(observations.accepted):
        _check_message(recipient, observations, report)
    unexpected = observations.copies.keys() - observations.accepted
    report.expect(not unexpected, f"sent but never accepted: {sorted(unexpected)[:5]}")
    report.expect(
        report.flagged <= observations.flags_allowed,
        f"{report.flagged} attempts are ambiguous, {observations.flags_allowed} may be",
    )
    report.expect(observations.open_rows == 0, f"{observations.open_rows} messages are still open")
    return report


def _check_message(recipient: str, observations: Observations, report: Report) -> None:
    copies = observations.copies.get(recipient, 0)
    flagged = observations.flagged.get(recipient, 0)
    closed = observations.closed.get(recipient, [])
    webhooks = observations.webhooks.get(recipient, set())
    report.expect(copies >= 1, f"{recipient}: lost")
    again = recipient in observations.sent_again
    report.expect(copies <= 1 + flagged + again, f"{recipient}: {copies} copies, {flagged} flagged")
    reaction = observations.reacted.get(recipient, "")
    is_suppressed = closed == [CLOSED_STATE_SUPPRESSED] and flagged > 0 and reaction in RETURNED
    report.expect(
        closed == [CLOSED_STATE_DELIVERED] or is_suppressed, f"{recipient}: closed {closed}"
    )
    kinds = Counter(kind for _, kind in webhooks)
    expected = {SUPPRESSED if is_suppressed else DELIVERED, *filter(None, [reaction])}
    report.expect(
        {kind for kind in kinds if kind in TERMINAL or kind == reaction} == expected,
        f"{recipient}: webhooks received {sorted(webhooks)}",
    )
    repeated = [kind for kind, ids in kinds.items() if ids > 1 and kind not in REPEATABLE]
    report.expect(again or not repeated, f"{recipient}: webhooks {repeated} have several ids")


def collect(world: World) -> Observations:
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
    copies = Counter(
        str(line["recipient"]) for line in read_json_lines(world.folder / "sink.jsonl")
    )
    return Observations(
        accepted=frozenset(world.client.accepted),
        refused=frozenset(world.client.refused),
        copies=copies,
        closed=closed,
        flagged=flagged,
        webhooks=read_webhooks(world),
        flags_allowed=world.data_sent_count,
        open_rows=world.count("SELECT count(*) FROM ingest.messages WHERE closed_state IS NULL"),
        reacted=dict(world.reacted),
        sent_again=frozenset(world.sent_again),
    )


def read_webhooks(world: World) -> dict[str, set[tuple[str, str]]]:
    webhooks: dict[str, set[tuple[str, str]]] = {}
    for line in read_json_lines(world.folder / "webhooks.jsonl"):
        body = json.loads(str(line["body"]))
        if not body["type"].startswith("email."):
            continue  # of a domain
        data = body["data"]
        recipient = data.get("recipient") or data["to"][0]
        webhooks.setdefault(recipient, set()).add((str(line["webhook_id"]), body["type"]))
    return webhooks
