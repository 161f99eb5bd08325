"""Suppressions of tenants and accounts, as their owners list, add and remove them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel import ids
from kernel.database import RowOwner, Transaction
from kernel.tenant_accounts import page_of_account
from services.router.domain.suppressions import (
    ORIGINS,
    NewSuppression,
    Suppression,
    address_hash,
    suppression_added,
    suppression_removed,
)
from services.router.store.address_key import erased_hash

COLUMNS = """id::text, address, origin, source_id, extract(epoch FROM created_at)::float8,
    owner_id::text, account_wide, list, reason, note,
    coalesce(extract(epoch FROM nullif(expires_at, 'infinity'))::float8, 0)"""

# Of an address and a list there are two rows at most: an unsubscribe, which stops broadcasts alone,
# does not change what stops all mail, nor the reverse.
KEY = "address_hash, list, (origin = 'unsubscribe')"
EXPIRED = "stored.expires_at <= now()"
STRENGTH = f"array_position(ARRAY[{', '.join(map(repr, ORIGINS))}], {{}})"
WINS = f"({EXPIRED} OR {STRENGTH.format('excluded.origin')} > {STRENGTH.format('stored.origin')})"
LASTING = "({0}.origin IN ('bounce', 'complaint') AND {0}.expires_at = 'infinity')"
LATER = f"""(excluded.expires_at > stored.expires_at
    AND (excluded.origin = stored.origin OR {LASTING.format("excluded")}))"""
# An expired suppression gives way to any other; else the stronger origin wins, with its note and
# its end. Of equal origins the later end is kept, and that of a bounce or a complaint that has none
# in any case. The row is returned if anything has changed.
KEEP_STRONGER = f"""
ON CONFLICT (owner_id, {KEY}) DO UPDATE SET
    id = CASE WHEN {EXPIRED} THEN excluded.id ELSE stored.id END,
    created_at = CASE WHEN {EXPIRED} THEN excluded.created_at ELSE stored.created_at END,
    expires_at = CASE WHEN {LATER} OR ({WINS} AND NOT {LASTING.format("stored")})
        THEN excluded.expires_at ELSE stored.expires_at END,
    note = CASE WHEN {WINS} THEN excluded.note ELSE stored.note END,
    origin = CASE WHEN {WINS} THEN excluded.origin ELSE stored.origin END,
    reason = CASE WHEN {WINS} THEN excluded.reason ELSE stored.reason END,
    source_id = CASE WHEN {WINS} THEN excluded.source_id ELSE stored.source_id END
WHERE {WINS} OR {LATER}
"""

# Equal addresses are merged as KEEP_STRONGER merges them one after another, so that it does not
# matter how additions are cut into batches.
ADD = f"""
INSERT INTO router.suppressions AS stored (owner_id, account_wide, address_hash, list, id, address,
    origin, reason, note, expires_at, created_at, source_id)
SELECT DISTINCT ON ({KEY}) %(owner)s::uuid, %(account_wide)s, address_hash, list,
    first_value(id) OVER equal, first_value(address) OVER equal, origin, reason, note,
    greatest(max(expires_at) OVER alike,
        max(expires_at) FILTER (WHERE {LASTING.format("given")}) OVER equal),
    first_value(created_at) OVER equal, ''
FROM (
    SELECT *, CASE WHEN expires = 0 THEN 'infinity' ELSE to_timestamp(expires) END AS expires_at
    FROM unnest(%(hashes)s::bytea[], %(lists)s::text[], %(ids)s::uuid[], %(addresses)s::text[],
        %(origins)s::text[], %(reasons)s::text[], %(notes)s::text[], %(expires)s::float8[],
        %(times)s::timestamptz[]) WITH ORDINALITY
        AS one (address_hash, list, id, address, origin, reason, note, expires, created_at, number)
) AS given
WINDOW equal AS (PARTITION BY {KEY} ORDER BY number
    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING),
    alike AS (PARTITION BY address_hash, list, origin)
ORDER BY {KEY}, {STRENGTH.format("origin")} DESC, number
{KEEP_STRONGER} RETURNING id::text
"""  # noqa: S608 - constants only

FIND = f"""
SELECT {COLUMNS} FROM unnest(%(hashes)s::bytea[], %(lists)s::text[], %(origins)s::text[])
    WITH ORDINALITY AS wanted (hash, of_list, added, number)
JOIN router.suppressions ON owner_id = %(owner)s AND address_hash = hash AND list = of_list
    AND (origin = 'unsubscribe') = (added = 'unsubscribe')
ORDER BY number
"""  # noqa: S608 - constants only

PAGE = f"""SELECT {COLUMNS} FROM router.suppressions
WHERE owner_id = {{tenant}} AND {{conditions}} ORDER BY suppressions.id {{order}} LIMIT %(limit)s"""  # noqa: S608
BY_ID = ("id < %(after)s", "id > %(before)s")
# IS TRUE prevents the use of the index by id, in which an address is slow to find.
BY_ADDRESS = (
    "(id < %(after)s) IS TRUE",
    "(id > %(before)s) IS TRUE",
    "address_hash = ANY(%(hashes)s::bytea[])",
)
DOMAIN = "split_part(address, '@', -1)"
OF_LIST = "list = %(list)s AND list <> ''"  # the condition of the index
NOT_EXPIRED = "expires_at > now()"

SELECTED = f"""
WHERE owner_id = %(owner)s AND (address_hash = ANY(%(hashes)s::bytea[]) AND list = %(list)s
    OR id = ANY(%(ids)s::uuid[])) AND {NOT_EXPIRED}
"""
REFUSED = f"""
SELECT {COLUMNS} FROM router.suppressions {SELECTED} AND origin = 'complaint' FOR UPDATE
"""  # noqa: S608 - constants only
# A suppression may become one of a complaint after REFUSED has found none.
REMOVE = f"""
DELETE FROM router.suppressions {SELECTED} AND (%(force)s OR origin <> 'complaint')
RETURNING {COLUMNS}
"""  # noqa: S608 - constants only

DELETE_EXPIRED = """
WITH expired AS (
    SELECT owner_id, id FROM router.suppressions
    WHERE expires_at < now() AND expires_at < 'infinity' ORDER BY expires_at LIMIT 1000
)
DELETE FROM router.suppressions AS stored USING expired
WHERE stored.owner_id = expired.owner_id AND stored.id = expired.id AND stored.expires_at < now()
"""

# The strikes stay, so that none of their events counts again.
FORGIVE = """
UPDATE router.bounce_strikes SET kind = 'forgiven'
WHERE tenant_id = %s AND address_hash = ANY(%s::bytea[])
"""


class SuppressionFilter(NamedTuple):
    """What is empty does not restrict the list. list: empty for those of all mail. since_id: the
    least id. expired: with those that have expired. key: of the hashes of erased addresses."""

    id: str = ""
    address: str = ""
    origin: str = ""
    domain: str = ""
    list: str | None = None
    since_id: str = ""
    expired: bool = False
    key: bytes = b""

    def conditions(self) -> Sequence[str]:
        chosen = {
            "id = %(id)s": self.id,
            "origin = %(origin)s": self.origin,
            f"{DOMAIN} = %(domain)s": self.domain,
            OF_LIST: self.list,
            "list = ''": self.list == "",
            NOT_EXPIRED: not self.expired,
        }
        paging = BY_ADDRESS if self.address else BY_ID
        return [*paging, *(condition for condition, given in chosen.items() if given)]


class AddedSuppressions(NamedTuple):
    """suppressions: of all addresses, in their order. changed: ids of those that are new or
    stronger now."""

    suppressions: Sequence[Suppression]
    changed: set[str]

    def events(self, added_by: str) -> list[SuppressionChanged]:
        """added_by: id of an API key."""
        found = {one.suppression_id: one for one in self.suppressions}
        return [suppression_added(found[changed], added_by) for changed in sorted(self.changed)]


class RemovalResult(NamedTuple):
    """Either is empty. refused: those of complaints, which only force removes."""

    removed: Sequence[Suppression] = ()
    refused: Sequence[Suppression] = ()

    def events(self, removed_by: str) -> list[SuppressionChanged]:
        return [suppression_removed(one, removed_by) for one in self.removed]


async def add(tx: Transaction, owner: RowOwner, new: Sequence[NewSuppression]) -> AddedSuppressions:
    identifiers = [UUID(one.id) if one.id else ids.uuid7() for one in new]
    params = {
        "owner": owner.tenant_id or owner.account_id,
        "account_wide": owner.tenant_id is None,
        "hashes": [address_hash(one.address) for one in new],
        "lists": [one.list for one in new],
        "ids": identifiers,
        "times": [ids.creation_time_of(one) for one in identifiers],
        "addresses": [one.address for one in new],
        "origins": [one.origin for one in new],
        "reasons": [one.reason for one in new],
        "notes": [one.note for one in new],
        "expires": [one.expires_s for one in new],
    }
    changed = {row_id for (row_id,) in await tx.rows(ADD, params)}
    found = [Suppression._make(row) for row in await tx.rows(FIND, params)]
    return AddedSuppressions(found, changed)


async def list_page(
    tx: Transaction,
    owner: RowOwner,
    wanted: SuppressionFilter,
    *,
    after: str,
    before: str,
    limit: int,
    account_wide: bool = False,
) -> list[Suppression]:
    """A page, newest first: older than the id `after`, or newer than the id `before`. account_wide:
    without those of the tenants of the account."""
    params = {
        "tenant": owner.tenant_id,
        "account": owner.account_id,
        "after": after or ids.MAX,
        "before": max(before.lower(), wanted.since_id) or ids.NIL,
        "hashes": hashes_of([wanted.address], wanted.key),
        "limit": limit,
        **wanted._asdict(),
    }
    sql = page_statement(wanted, owner, newer=bool(before), account_wide=account_wide)
    return [Suppression._make(row) for row in await tx.rows(sql, params)]


def page_statement(
    wanted: SuppressionFilter, owner: RowOwner, *, newer: bool = False, account_wide: bool = False
) -> str:
    order = "ASC" if newer else "DESC"
    conditions = " AND ".join(wanted.conditions())
    page = PAGE.format(tenant="{tenant}", conditions=conditions, order=order)
    if owner.tenant_id is None and not account_wide:
        return page_of_account("router", page, order=order, with_account=True)
    return page.format(tenant="%(account)s" if account_wide else "%(tenant)s")


async def remove(
    tx: Transaction,
    owner: RowOwner,
    names: Sequence[str],
    *,
    key: bytes,
    of_list: str = "",
    force: bool,
) -> RemovalResult:
    """Remove suppressions by address or id, so that earlier bounces no longer count. Without force,
    none if one is of a complaint. of_list: of the suppressions of the addresses."""
    params: Mapping[str, Any] = {
        "owner": owner.tenant_id or owner.account_id,
        "hashes": hashes_of(names, key),
        "list": of_list,
        "ids": [name for name in names if is_uuid(name)],
        "force": force,
    }
    if not force and (refused := await tx.rows(REFUSED, dict(params))):
        return RemovalResult(refused=[Suppression._make(row) for row in refused])
    removed = [Suppression._make(row) for row in await tx.rows(REMOVE, dict(params))]
    forgiven = hashes_of([one.address for one in removed if not one.list and one.address], key)
    if forgiven and owner.tenant_id is not None:
        await tx.execute(FORGIVE, (owner.tenant_id, forgiven))
    return RemovalResult(removed)


async def delete_expired(tx: Transaction) -> int:
    """Delete a batch of expired suppressions. Returns their number."""
    return await tx.execute(DELETE_EXPIRED)


def hashes_of(addresses: Sequence[str], key: bytes) -> list[bytes]:
    """Of addresses, and those that are left of erased ones."""
    plain = [address_hash(one) for one in addresses]
    return plain + [erased_hash(key, one) for one in plain]


def is_uuid(text: str) -> bool:
    try:
        ids.canonical_uuid(text)
    except ValueError:
        return False
    return True
