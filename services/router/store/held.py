"""Messages that are held for review: of a tenant, of an account, or all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from contracts.router.v1.events_pb2 import Review
from kernel import clock
from kernel.database import RowOwner, Transaction
from kernel.ids import MAX, NIL
from services.router.domain.campaigns import REASON_OF_CAMPAIGNS
from services.router.domain.cells import CellOf, first_cell
from services.router.domain.events import ClosedRow
from services.router.domain.held import REJECTED, STATES, HeldFilter, HeldMessage, ReviewedMessage
from services.router.domain.message import MessageRowState
from services.router.store.queues import mark_queues_due
from services.router.store.requests import due_times_of

SCANNED = 500  # rows of each read
SCAN_S = 0.5  # then the page stays short
COUNTED_MAX = 100_000

SAVE = """
UPDATE router.messages AS m SET screening = held.screening, held_at = now()
FROM unnest(%s::uuid[], %s::bytea[]) AS held (message_id, screening)
WHERE m.message_id = held.message_id AND m.state = 'held'
"""
VISIBLE = {
    "tenant": "m.tenant_id = %(tenant)s AND (m.test OR NOT %(test_only)s)",
    "account": """(m.test OR NOT %(test_only)s) AND EXISTS (
        SELECT FROM router.tenant_accounts AS owner WHERE owner.tenant_id = m.tenant_id
            AND owner.account_id = %(account)s)""",
    "all": "m.test OR NOT %(test_only)s",
}
# Those of an account are found among those of all, because few messages are held at a time: an
# index would have to know the account. Columns of other tenants are not returned.
SCAN = """
WITH scanned AS MATERIALIZED (
    SELECT message_id FROM router.messages
    WHERE state = 'held' AND message_id >= %(first)s AND message_id < %(before)s AND {of_tenant}
    ORDER BY message_id DESC LIMIT %(rows)s
)
SELECT scanned.message_id::text, visible.context, coalesce(visible.screening, ''),
    coalesce(extract(epoch FROM visible.held_at)::float8, 0),
    extract(epoch FROM visible.expires_at)::float8, visible.reason
FROM scanned LEFT JOIN LATERAL (
    SELECT * FROM router.messages AS m
    WHERE m.message_id = scanned.message_id AND m.state = 'held' AND ({visible}) OFFSET 0
) AS visible ON true
ORDER BY scanned.message_id DESC
"""
# Locked in the order of their ids, so that two reviews of the same messages cannot deadlock.
REVIEW = """
WITH chosen AS MATERIALIZED (
    SELECT m.message_id FROM router.messages AS m
    WHERE m.message_id = ANY(%(ids)s::uuid[]) AND m.state = 'held' AND ({visible})
    ORDER BY m.message_id FOR UPDATE OF m
)
UPDATE router.messages AS m SET state = %(state)s, reason = %(reason)s,
    due_at = greatest(m.due_at, now()), closed_at = CASE WHEN %(closes)s THEN now() END
FROM chosen WHERE m.message_id = chosen.message_id AND m.state = 'held'
RETURNING m.message_id::text, m.state, m.reason, m.attempt, m.ambiguous, coalesce(m.reply, ''),
    m.bounce_class, extract(epoch FROM now())::float8, m.context, m.queue_id,
    extract(epoch FROM m.due_at)::float8, coalesce(extract(epoch FROM m.held_at)::float8, 0),
    coalesce(m.screening, '')
"""


# What is held for a campaign says so at the beginning of its reason.
COUNT = f"""
SELECT substring(reason FROM {len(REASON_OF_CAMPAIGNS) + 1} FOR 36), count(*) FROM (
    SELECT reason FROM router.messages
    WHERE state = 'held' AND tenant_id = ANY(%s::uuid[]) LIMIT {COUNTED_MAX}
) AS held
WHERE starts_with(reason, %s) GROUP BY 1
"""  # noqa: S608 - constants only


class HeldPage(NamedTuple):
    """next: the id from which the next page goes on; empty at the end."""

    messages: Sequence[HeldMessage]
    next: str


class MessageIdRange(NamedTuple):
    """Ids from `first` to below `before`."""

    first: str = str(NIL)
    before: str = str(MAX)


async def save_screenings(tx: Transaction, screenings: Sequence[tuple[str, bytes]]) -> None:
    """Of messages that were just held, by id. System role."""
    ids, stored = zip(*sorted(screenings), strict=True)
    await tx.execute(SAVE, (list(ids), list(stored)))


async def read_page(
    tx: Transaction,
    owner: RowOwner,
    wanted: HeldFilter,
    *,
    bounds: MessageIdRange,
    limit: int,
    test_only: bool,
) -> HeldPage:
    """Newest first. A page is short if the search took too long. The system role, unless the owner
    is a tenant."""
    kind = kind_of(owner)
    of_tenant = "tenant_id = %(tenant)s" if kind == "tenant" else "true"
    statement = SCAN.format(of_tenant=of_tenant, visible=VISIBLE[kind])
    found: list[HeldMessage] = []
    before, until_s = bounds.before, clock.monotonic_s() + SCAN_S
    while True:
        given = {**bounds._asdict(), **values_of(owner, test_only), "before": before}
        rows = await tx.rows(statement, {**given, "rows": SCANNED})
        visible = [HeldMessage._make(row) for row in rows if row[1] is not None]
        found += [one for one in visible if wanted == HeldFilter() or wanted.matches(one)]
        if len(found) > limit:
            return HeldPage(found[:limit], found[limit - 1].message_id)
        if len(rows) < SCANNED:
            return HeldPage(found, "")
        before = rows[-1][0]
        if clock.monotonic_s() > until_s:
            return HeldPage(found, before)


async def count_by_campaign(tx: Transaction, tenant_ids: Sequence[str]) -> dict[str, int]:
    """How many messages are held for each campaign of these tenants, of the first COUNTED_MAX that
    are held. System role."""
    rows = await tx.rows(COUNT, (list(tenant_ids), REASON_OF_CAMPAIGNS))
    return dict(rows)


async def review(
    tx: Transaction,
    owner: RowOwner,
    *,
    ids: Sequence[str],
    verdict: Review.ValueType,
    test_only: bool,
    cell_of: CellOf = first_cell,
) -> list[ReviewedMessage]:
    """Release or reject those that are held. Returns them. The role as for `read_page`."""
    state = STATES[verdict]
    values: dict[str, Any] = {
        **values_of(owner, test_only),
        "ids": ids,
        "state": state.value,
        "reason": REJECTED if state is MessageRowState.FAILED else "",
        "closes": state is MessageRowState.FAILED,
    }
    statement = REVIEW.format(visible=VISIBLE[kind_of(owner)])
    reviewed = [
        ReviewedMessage(ClosedRow._make(row[:10]), *row[10:])
        for row in await tx.rows(statement, values)
    ]
    waiting = [(one.row.message_id, one.row.state, one.row.queue_id, one.due_s) for one in reviewed]
    await mark_queues_due(tx, due_times_of(waiting), cell_of)
    return reviewed


def kind_of(owner: RowOwner) -> str:
    if owner.tenant_id:
        return "tenant"
    return "account" if owner.account_id else "all"


def values_of(owner: RowOwner, test_only: bool) -> dict[str, Any]:
    return {"tenant": owner.tenant_id, "account": owner.account_id, "test_only": test_only}
