"""What refers to brands: their hosts, and the accounts that name them."""

from collections.abc import Sequence

from contracts.ingest.v1.directory_pb2 import Account, Brand
from services.ingest.store.directory import DirectoryTransaction, read_entries


async def brands_with_hosts(
    change: DirectoryTransaction, hosts: Sequence[str], *, but: str
) -> list[Brand]:
    """Other brands that have one of the hosts. but: an id."""
    where = "hosts && %s AND id <> %s AND NOT deleted"
    return await read_entries(change.tx, Brand, where, params=(list(hosts), but))


async def is_named_by_account(change: DirectoryTransaction, brand_id: str) -> bool:
    where = "brand = %s AND brand <> '' AND NOT deleted LIMIT 1"
    return bool(await read_entries(change.tx, Account, where, params=(brand_id,)))
