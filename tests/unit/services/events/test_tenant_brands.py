"""Webhooks have the brand of the tenant's account, as it is now."""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Account, Tenant
from contracts.ingest.v1.directory_pb2 import Brand as BrandRecord
from kernel.brand import Brands
from kernel.processor import Record
from services.events.clients.brands import TenantBrands


class Directory:
    """Publishes the directory to those who replay it."""

    def __init__(self) -> None:
        self._readers: dict[type[Message], Callable[[Record], None]] = {}

    def replay(self, event: type[Message], on_record: Callable[[Record], None]) -> asyncio.Event:
        self._readers[event] = on_record
        replayed = asyncio.Event()
        replayed.set()
        return replayed

    def publish(self, *entries: Message) -> None:
        for entry in entries:
            record: Any = Record("t", 0, 0, b"k", entry.SerializeToString(), ())
            self._readers[type(entry)](record)


def partner(version: int, **fields: Any) -> BrandRecord:  # noqa: ANN401 - of the record
    return BrandRecord(brand_id="1", version=version, slug="partner", name="Partner", **fields)


async def test_with_one_brand_nothing_else_matters() -> None:
    brands = TenantBrands(Brands(), Directory())
    assert (await brands.of("unknown")).slug == "obm"


async def test_the_brand_follows_its_record() -> None:
    directory = Directory()
    brands = TenantBrands(Brands(), directory)
    directory.publish(
        partner(1),
        Account(account_id="a", version=2, brand="1"),
        Account(account_id="b", version=3),
        Tenant(tenant_id="ta", version=4, account_id="a"),
        Tenant(tenant_id="tb", version=5, account_id="b"),
    )
    assert (await brands.of("ta")).user_agent == "PARTNER"
    assert (await brands.of("tb")).user_agent == "OBM"
    assert (await brands.of_account("a")).user_agent == "PARTNER"
    directory.publish(partner(6, user_agent="Partner-Post"))
    assert (await brands.of("ta")).user_agent == "Partner-Post"
    directory.publish(partner(1))  # again
    assert (await brands.of("ta")).user_agent == "Partner-Post"
    directory.publish(Account(account_id="a", version=7), partner(8, deleted=True))
    assert (await brands.of("ta")).user_agent == "OBM"


async def test_a_record_may_arrive_after_the_account_that_names_it() -> None:
    directory = Directory()
    brands = TenantBrands(Brands(), directory)
    directory.publish(
        BrandRecord(brand_id="2", version=1, slug="other"),
        Account(account_id="a", version=3, brand="1"),
        Tenant(tenant_id="ta", version=4, account_id="a"),
    )
    async with asyncio.timeout(1):  # a brand that has left the file does not come
        directory.publish(
            Account(account_id="b", version=5, brand="gone"),
            Tenant(tenant_id="tb", version=6, account_id="b"),
        )
        assert (await brands.of("tb")).slug == "obm"
    asyncio.get_running_loop().call_later(0.1, directory.publish, partner(2))
    assert (await brands.of("ta")).slug == "partner"
