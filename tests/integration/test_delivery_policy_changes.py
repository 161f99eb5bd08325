"""MTA-STS policies over time: kept while their host is away, and replaced when their id changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.delivery.v1 import events_pb2 as events
from kernel.database import Database
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from services.delivery.clients import mta_sts as client
from services.delivery.clients import mx_connector
from services.delivery.clients.smtp.pool import LIMIT_INITIAL
from services.delivery.loops import tls_policies
from services.delivery.store.mta_sts import UNUSED_DAYS, MtaStsPolicyStore, expire
from tests.support.delivery import Harness
from tests.support.name_server import SERVFAIL
from tests.support.policy_server import policy_text, response
from tests.support.polling import until
from tests.support.protected_domains import Records, World, certificate_of, records_of, world_of
from tests.support.smtp_peer import SmtpPeer
from tests.support.stack import harness_fixture

DELIVERED, TEMPORARY = events.ATTEMPT_OUTCOME_DELIVERED, events.ATTEMPT_OUTCOME_TEMPORARY
AGE_USE = (
    "UPDATE delivery.mta_sts_policies SET used_at = now() - make_interval(days => %s, secs => 1)"
)
LOST = response(b"", status="404 Not Found")

harness = harness_fixture(Harness, scope="module")


@asynccontextmanager
async def domain_with(
    harness: Harness, domain: str, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    async with world_of(
        harness, [domain], responses={domain: policy}, monkeypatch=monkeypatch
    ) as world:
        yield world


def peer(domain: str, *, kind: str = "good", host: str = "mx") -> SmtpPeer:
    return SmtpPeer(tls=certificate_of(kind, f"{host}.{domain}").context())


@pytest.mark.parametrize("txt", ["missing", "unknown", "changed"])
def test_a_policy_stays_in_force_over_a_restart_while_it_cannot_be_had(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, txt: str
) -> None:
    domain = f"{txt}.example"
    policy = response(policy_text(f"mx.{domain}"))

    async def scenario() -> None:
        async with peer(domain) as good, domain_with(harness, domain, policy, monkeypatch) as world:
            assert (await world.send(domain, good)).outcome == DELIVERED
        async with domain_with(harness, domain, LOST, monkeypatch) as world:
            record: Records = {
                "missing": {},
                "unknown": SERVFAIL,
                "changed": {"TXT": ['"v=STSv1; id=2;"']},
            }
            world.records[f"_mta-sts.{domain}"] = record[txt]
            async with SmtpPeer() as clear:
                result = await world.send(domain, clear)
            assert (result.outcome, result.reply.tls_policy) == (TEMPORARY, "mta-sts")
            assert clear.messages == []
            if txt == "changed":  # it is fetched while the stored one is in force
                await until(lambda: world.policies.requested)
            assert world.policies.requested == ([domain] if txt == "changed" else [])

    asyncio.run(scenario())


def test_a_policy_is_not_fetched_again_while_its_id_is_the_same(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = "same.example"
    policy = response(policy_text(f"mx.{domain}"))

    async def scenario() -> None:
        for fetched in ([domain], []):
            async with (
                domain_with(harness, domain, policy, monkeypatch) as world,
                peer(domain) as good,
            ):
                for _ in range(2):
                    assert (await world.send(domain, good)).reply.tls_policy == "mta-sts"
                assert world.policies.requested == fetched
                queried = world.names.queried_names.count(f"_mta-sts.{domain}")
                assert queried == 1

    asyncio.run(scenario())


def test_a_changed_policy_is_in_force_for_the_attempt_after_the_one_that_it_refused(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = "moved.example"
    monkeypatch.setattr(tls_policies, "RECHECK_S", 0.0)

    async def scenario() -> None:
        before, after = (response(policy_text(f"{host}.{domain}")) for host in ("old", "mx"))
        async with (
            peer(domain) as moved,
            domain_with(harness, domain, before, monkeypatch) as world,
        ):
            assert (await world.send(domain, moved)).outcome == TEMPORARY
            world.policies.responses[domain] = after
            assert (await world.send(domain, moved)).outcome == TEMPORARY  # the id is the same
            world.records.update(records_of(domain, policy_id="2"))
            assert (await world.send(domain, moved)).outcome == DELIVERED

    asyncio.run(scenario())


async def test_a_policy_that_no_mail_has_needed_for_a_month_is_forgotten(harness: Harness) -> None:
    database = Database(harness.database.system("delivery"), name="test")
    policies = MtaStsPolicyStore(database)
    policy = MtaStsPolicy(MtaStsMode.ENFORCE, ("mx.example",), 31_557_600)
    for domain in ("used.example", "unused.example"):
        await policies.save(domain, "1", policy)
    await database.execute_autocommit(AGE_USE, (UNUSED_DAYS,))
    [used] = await policies.load(["used.example"])
    assert used is not None
    async with database.transaction() as tx:
        assert await expire(tx) >= 1
    found = await policies.load(["used.example", "unused.example"])
    assert [one and one.policy for one in found] == [policy, None]
    await database.close()


def test_the_next_host_is_tried_if_a_host_has_no_valid_certificate(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = "backup.example"
    policy = response(policy_text(f"*.{domain}"))

    async def scenario() -> None:
        async with (
            peer(domain, kind="expired") as first,
            peer(domain, host="mx2") as second,
            domain_with(harness, domain, policy, monkeypatch) as world,
        ):
            result = await world.send(domain, first, second)
            assert (result.outcome, result.reply.mx) == (DELIVERED, f"mx2.{domain}")
            assert (len(first.messages), len(second.messages)) == (0, 1)

    asyncio.run(scenario())


def test_much_mail_to_a_host_that_the_policy_refuses_dials_it_once_per_backoff(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or twice, if a second attempt begins before the first has failed. Such attempts use no limit
    of the scheduler, so nothing else bounds the connections."""
    domain = "many.example"
    policy = response(policy_text(f"mx.{domain}"))
    monkeypatch.setattr(mx_connector, "BACKOFF_S", 3_600.0)
    monkeypatch.setattr(mx_connector, "BACKOFF_MAX_S", 3_600.0)

    async def scenario() -> None:
        async with (
            peer(domain, kind="expired") as server,
            domain_with(harness, domain, policy, monkeypatch) as world,
        ):
            for _ in range(3):
                batch = [one for _ in range(40) for one in await world.assign(domain, server)]
                await world.running.topics.publish(batch)
                results = await world.running.topics.results(batch)
                assert {one.outcome for one in results} == {TEMPORARY}
                assert {one.reply.enhanced for one in results} == {"4.7.5"}
            assert 1 <= len(server.connections) <= LIMIT_INITIAL
            assert server.messages == []

    asyncio.run(scenario())


def test_a_connection_in_clear_text_is_not_used_for_mail_that_must_have_tls(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection stays open: its STARTTLS fails once."""
    domain = "shared.example"
    policy = response(policy_text(f"mx.{domain}", mode="testing"))

    async def scenario() -> None:
        context = certificate_of("good", f"mx.{domain}").context()
        acts = {"starttls": [b"454 4.7.0 Not now", b"220 Go"]}
        async with (
            SmtpPeer(acts, tls=context) as server,
            domain_with(harness, domain, policy, monkeypatch) as world,
        ):
            assert (await world.send(domain, server)).reply.tls_policy == "none"
            result = await world.send(domain, server, tls_enforced=True)
            assert (result.reply.tls_policy, result.reply.tls_verified) == ("enforced", True)
            assert [one.tls for one in server.connections] == [False, False, True]

    asyncio.run(scenario())


def test_a_slow_policy_host_delays_only_its_own_domain_and_not_the_end_of_the_service(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = "slow.example", "quick.example"
    monkeypatch.setattr(client, "FETCH_TIMEOUT_S", 3600.0)

    async def scenario() -> None:
        domains: list[str] = [slow, quick]
        async with SmtpPeer() as server:
            async with world_of(
                harness, domains, responses={slow: None}, monkeypatch=monkeypatch
            ) as world:
                many = [
                    one
                    for _ in range(30)  # more than the queue of a site has tasks
                    for one in await world.assign(slow, server, site="provider", in_s=600.0)
                ]
                await world.running.topics.publish(many)
                await until(lambda: world.policies.requested)
                others = await world.assign(quick, server, site="provider")
                [result] = (await world.running.send(others)).values()
                assert result.outcome == DELIVERED
            policies: dict[str, bytes | None] = {slow: LOST}
            async with world_of(
                harness, domains, responses=policies, monkeypatch=monkeypatch
            ) as world:
                results = await world.running.topics.results(many)
                assert {one.outcome for one in results} == {DELIVERED}
        assert len(server.messages) == 31

    asyncio.run(scenario())
