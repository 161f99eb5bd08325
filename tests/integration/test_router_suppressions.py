"""Suppressions of tenants, lists and accounts, on real Kafka and PostgreSQL: what they stop, what
replaces them, and what is told of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed
from kernel import clock
from kernel.crypto import sha256
from kernel.database import Database, Transaction
from kernel.ids import uuid7_of, uuid7_text
from kernel.rpc import RpcError
from services.router.domain.events import timestamp
from services.router.store import suppressions
from tests.support.router import RouterHarness, screened, until
from tests.support.router_suppressions import ADDRESS, Suppressions, changes, published
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(RouterHarness)

NEWS = {"broadcast": True, "list": "news"}


async def fate(harness: RouterHarness, **extra: object) -> str:
    """What becomes of a message: assigned, or the reason why it was closed."""
    context: MessageContext = harness.context(ADDRESS, **extra)
    await harness.publish(screened(context))
    ended = (DeliveryAssigned, MessageClosed)
    await until(lambda: any(harness.received(kind, context.message_id) for kind in ended))
    closed = harness.received(MessageClosed, context.message_id)
    return closed[0].reason if closed else "assigned"


async def test_suppressions_are_added_listed_and_removed(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        names = [f"n{n}@x.site-a.test" for n in range(5)]
        added = await mine.add(*(pb.NewSuppression(address=one) for one in [*names, names[0]]))
        assert [one.address for one in added.suppressions] == [*names, names[0]]
        assert len(added.changed_ids) == 5
        assert not (await mine.add(pb.NewSuppression(address="N0@x.site-a.test"))).changed_ids
        everything = await mine.listed()
        assert {one.address for one in everything} == set(names)
        assert await mine.listed(limit=2) == everything[:2]
        assert await mine.listed(limit=2, after=everything[1].id) == everything[2:4]
        assert await mine.listed(limit=2, before=everything[2].id) == everything[:2]
        removed = (await mine.remove("N0@x.site-a.test", everything[0].id)).removed
        assert {one.origin for one in removed} == {"manual"}
        await until(lambda: len(published(harness)) == 7)
        assert {(one, "added", "manual") for one in names} <= set(published(harness))
        assert {("n0@x.site-a.test", "removed", "manual")} <= set(published(harness))
        assert {one.changed_by for one in changes(harness)} == {"key"}


async def test_a_suppression_of_a_list_stops_its_broadcasts_alone(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        await mine.add(list="news", origin="unsubscribe")
        assert await fate(harness, **NEWS) == "suppressed: unsubscribe"
        assert await fate(harness, broadcast=True, list="offers") == "assigned"
        assert await fate(harness, broadcast=True) == "assigned"
        assert await fate(harness, list="news") == "assigned"
        assert not (await mine.remove(ADDRESS)).removed
        assert (await mine.remove(ADDRESS, list="news")).removed
        assert await fate(harness, **NEWS) == "assigned"


@pytest.mark.parametrize(
    ("origin", "transactional"),
    [
        ("unsubscribe", "assigned"),
        ("manual", "suppressed: manual"),
        ("bounce", "suppressed: bounce"),
        ("complaint", "suppressed: complaint"),
    ],
)
async def test_transactional_mail_ignores_unsubscribes_alone(
    harness: RouterHarness, origin: str, transactional: str
) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        await Suppressions(call, stub, tenant_id=harness.tenant_id).add(origin=origin)
        assert await fate(harness) == transactional
        assert await fate(harness, broadcast=True) == f"suppressed: {origin}"
        assert await fate(harness, test=True) == "assigned"


async def test_a_suppression_of_an_account_holds_for_its_tenants(harness: RouterHarness) -> None:
    mine, other = str(uuid4()), str(uuid4())
    harness.limits = {"account_id": mine}
    foreign = Tenant(tenant_id=str(uuid4()), version=1, account_id=other)
    async with harness.running(), harness.rpc() as (call, stub):
        await harness.publish(foreign)
        of_account = Suppressions(call, stub, account_id=mine)
        of_tenant = Suppressions(call, stub, tenant_id=harness.tenant_id, account_id=mine)
        await of_tenant.add(origin="bounce")
        one = await of_account.add_one(origin="complaint", note="by phone")
        assert (one.tenant_id, one.account_id, one.note) == ("", mine, "by phone")
        assert await fate(harness) == "suppressed: complaint"
        assert await fate(harness, tenant_id=foreign.tenant_id) == "assigned"
        assert [one.origin for one in await of_account.listed()] == ["complaint", "bounce"]
        assert [one.id for one in await of_account.listed(account_wide=True)] == [one.id]
        assert [one.origin for one in await of_tenant.listed()] == ["bounce"]
        assert not await Suppressions(call, stub, account_id=other).listed()
        assert not (await of_tenant.remove(one.id, force=True)).removed
        assert not (await Suppressions(call, stub, account_id=other).remove(ADDRESS)).removed
        assert (await of_account.remove(ADDRESS, force=True)).removed
        assert await fate(harness) == "suppressed: bounce"


async def test_a_suppression_of_an_account_holds_for_a_tenant_that_only_the_directory_knows(
    harness: RouterHarness,
) -> None:
    """A new one, whose record is late in the database."""
    mine = str(uuid4())
    harness.limits = {"account_id": mine}
    async with harness.running(), harness.rpc() as (call, stub):
        await Suppressions(call, stub, account_id=mine).add(origin="complaint")
        assert await fate(harness) == "suppressed: complaint"
        with harness.database.connect() as connection:
            connection.execute("DELETE FROM router.tenant_accounts")
        assert await fate(harness) == "suppressed: complaint"


async def test_an_expired_suppression_is_gone(harness: RouterHarness) -> None:
    harness.extra = {"partitions_interval_s": 0.3}
    async with harness.running(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        soon = timestamp(clock.now().timestamp() + 0.5)
        first = await mine.add_one(expires_at=soon)
        with harness.database.connect() as connection:
            query = "SELECT FROM router.suppressions WHERE owner_id = %s"
            await until(lambda: not connection.execute(query, (harness.tenant_id,)).fetchall())
        assert await fate(harness) == "assigned"
        again = await mine.add_one(expires_at=timestamp(clock.now().timestamp() + 3600))
        assert again.id != first.id
        assert (await mine.add_one()).expires_at.seconds == 0  # the later expiry is kept
        assert [(one.id, one.expires_at.seconds) for one in await mine.listed()] == [(again.id, 0)]


async def test_what_has_expired_and_is_not_deleted_yet_stops_and_shows_nothing(
    harness: RouterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def delete_none(_: Transaction) -> int:
        return 0

    monkeypatch.setattr(suppressions, "delete_expired", delete_none)
    async with harness.running(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        first = await mine.add_one(origin="complaint", note="old")
        with harness.database.connect() as connection:
            expire = "UPDATE router.suppressions SET expires_at = now() WHERE owner_id = %s"
            connection.execute(expire, (harness.tenant_id,))
        assert await mine.listed() == []
        assert [one.id for one in await mine.listed(expired=True)] == [first.id]
        assert not (await mine.remove(ADDRESS)).refused
        assert await fate(harness) == "assigned"
        replaced = await mine.add_one()
        assert (replaced.origin, replaced.note) == ("manual", "")
        assert replaced.id != first.id


async def test_the_stronger_origin_is_kept(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        origins = ["manual", "bounce", "complaint"]
        ids = {(await mine.add_one(origin=one, reason=one, note=f"of {one}")).id for one in origins}
        assert len(ids) == 1
        for one in origins:
            kept = await mine.add_one(origin=one, reason=one)
            assert (kept.origin, kept.reason) == ("complaint", "complaint")
            assert kept.note == "of complaint"
        await until(lambda: len(published(harness)) == len(origins))
        assert {*published(harness)} == {(ADDRESS, "added", one) for one in origins}


@pytest.mark.parametrize("origins", [("manual", "unsubscribe"), ("unsubscribe", "manual")])
async def test_an_unsubscribe_does_not_prolong_what_stops_all_mail(
    harness: RouterHarness, origins: Sequence[str]
) -> None:
    later = timestamp(clock.now().timestamp() + 3600)
    given: dict[str, dict[str, Any]] = {
        "manual": {"expires_at": later, "note": "on holiday"},
        "unsubscribe": {"reason": "page"},
    }
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        added = {one: await mine.add_one(origin=one, **given[one]) for one in origins}
        assert {one.origin: one for one in await mine.listed()} == added
        assert await fate(harness) == "suppressed: manual"
        assert await fate(harness, broadcast=True) == "suppressed: manual"
        with harness.database.connect() as connection:
            expire = "UPDATE router.suppressions SET expires_at = now() WHERE id = %s"
            connection.execute(expire, (added["manual"].id,))
        assert await fate(harness) == "assigned"
        assert await fate(harness, broadcast=True) == "suppressed: unsubscribe"
        await until(lambda: len(published(harness)) == len(origins))
        assert {*published(harness)} == {(ADDRESS, "added", one) for one in origins}


async def test_an_address_is_removed_with_its_unsubscribe_and_an_id_alone(
    harness: RouterHarness,
) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)

        async def both(origin: str) -> list[str]:
            return [(await mine.add_one(origin=one)).id for one in (origin, "unsubscribe")]

        for index in (0, 1):
            ids = await both("manual")
            assert [one.id for one in (await mine.remove(ids[index])).removed] == [ids[index]]
            assert [one.id for one in await mine.listed()] == [ids[1 - index]]
            left = await both("manual")
            assert {one.id for one in (await mine.remove(ADDRESS)).removed} == {*left}
        ids = await both("complaint")
        done = await mine.remove(ADDRESS)
        assert ([one.id for one in done.refused], [*done.removed]) == (ids[:1], [])
        assert {one.id for one in await mine.listed()} == {*ids}
        assert {one.id for one in (await mine.remove(ADDRESS, force=True)).removed} == {*ids}


async def test_a_complaint_is_removed_by_force_alone(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        await mine.add(origin="complaint")
        await mine.add(address="bob@x.site-a.test")
        done = await mine.remove(ADDRESS, "bob@x.site-a.test")
        assert [one.address for one in done.refused] == [ADDRESS]
        assert not done.removed
        assert len(await mine.listed()) == 2
        done = await mine.remove(ADDRESS, "bob@x.site-a.test", force=True)
        assert len(done.removed) == 2
        assert not done.refused


async def test_lists_are_filtered(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        old = await mine.add_one(address="old@y.test", origin="bounce", reason="bad_domain")
        before = clock.now().timestamp()
        more: tuple[dict[str, Any], ...] = (
            {"origin": "unsubscribe", "list": "news"},
            {"origin": "bounce"},
            {"address": "bob@y.test", "origin": "bounce"},
        )
        for fields in more:
            await mine.add(**fields)

        async def found(**fields: Any) -> Sequence[tuple[str, str]]:  # noqa: ANN401 - a protobuf's
            return [(one.address, one.list) for one in (await mine.listed(**fields))[::-1]]

        assert await found(origin="bounce", domain="y.test") == [
            ("old@y.test", ""),
            ("bob@y.test", ""),
        ]
        assert await found(domain="test") == []
        assert await found(list="news") == [(ADDRESS, "news")]
        assert await found(address=ADDRESS) == [(ADDRESS, "news"), (ADDRESS, "")]
        assert await found(address=ADDRESS, list="") == [(ADDRESS, "")]
        assert len(await found(since=timestamp(before))) == 3
        assert await mine.listed(origin="bounce", after=(await mine.listed())[-2].id) == [old]


async def test_a_repeated_addition_finds_what_it_has_added(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        moment = datetime(2020, 5, 17, 12, tzinfo=UTC)
        new = [
            pb.NewSuppression(
                address=f"again{n}@x.site-a.test",
                id=str(uuid7_of(int(moment.timestamp()) * 1000, sha256(str(n)))),
            )
            for n in range(1_000)
        ]
        for _ in range(2):
            added = (await mine.add(*new, silent=True)).suppressions
            assert [one.id for one in added] == [one.id for one in new]
            assert {one.created_at.ToDatetime(UTC) for one in added} == {moment}
        other = pb.NewSuppression(address=new[0].address, id=uuid7_text())
        assert (await mine.add(other)).suppressions[0].id == new[0].id
        assert len(await mine.listed(limit=1_000)) == 1_000
        with pytest.raises(RpcError) as refused:
            await mine.add(pb.NewSuppression(address=ADDRESS, id="x"))
        assert refused.value.code == grpc.StatusCode.INVALID_ARGUMENT
        await mine.add()
        await until(lambda: published(harness))
        assert published(harness) == [(ADDRESS, "added", "manual")]


async def test_wrong_requests_are_refused(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc() as (call, stub):
        mine = Suppressions(call, stub, tenant_id=harness.tenant_id)
        with pytest.raises(RpcError, match="Unknown origin"):
            await mine.add(origin="hearsay")
        with pytest.raises(RpcError, match="NUL"):
            await mine.add(note="a\0b")
        with pytest.raises(RpcError, match="at most 1000"):
            await mine.add(*[pb.NewSuppression(address=ADDRESS)] * 1001)
        with pytest.raises(RpcError, match="at most 1000"):
            await mine.remove(*[ADDRESS] * 1001)


async def test_the_tenant_role_sees_and_changes_its_own_alone(harness: RouterHarness) -> None:
    account, tenant = str(uuid4()), str(uuid4())
    harness.limits = {"account_id": account}
    async with harness.running(), harness.rpc() as (call, stub):
        of_tenant = Suppressions(call, stub, tenant_id=harness.tenant_id, account_id=account)
        await of_tenant.add()
        await Suppressions(call, stub, account_id=account).add()
        database = Database(harness.database.tenant("router"))
        delete = "DELETE FROM router.suppressions RETURNING account_wide"
        for owner in ({"tenant_id": tenant}, {"account_id": tenant}):
            async with database.transaction(**owner) as tx:
                assert await tx.rows(delete) == []
        async with database.transaction(tenant_id=harness.tenant_id) as tx:
            assert await tx.rows(delete) == [(False,)]
        async with database.transaction(account_id=account) as tx:
            assert await tx.rows(delete) == [(True,)]
        await database.close()
