"""Which entries of the directory a broker may have lost."""

from uuid import uuid4

from contracts.ingest.v1.directory_pb2 import Account
from kernel.database import PLANS
from kernel.lease import Lease
from services.ingest.store.directory import DirectoryStore, UnpublishedEntries
from tests.support.stack import FreshDatabase, opened


async def test_an_entry_that_was_never_published_is_not_lost(database: FreshDatabase) -> None:
    """It was created a moment ago, and the next change publishes it."""
    async with opened(database.system("ingest"), session=PLANS) as engine:
        lease = Lease(engine, "ingest", "publisher-test", lease_s=600)
        assert await lease.try_acquire()
        entries = UnpublishedEntries(engine, lease)
        account = Account(account_id=str(uuid4()), name="new")
        await DirectoryStore(engine).save(account)
        assert await entries.page(Account, after=0, count=9) == []
        [unpublished] = await entries.next_batch(Account, 9)
        await entries.mark_published(Account, [unpublished])
        assert await entries.page(Account, after=0, count=9) == [unpublished]
