"""Connection pools with messages that must have TLS beside others."""

from collections.abc import Callable

import pytest

from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.smtp_reply import Reply
from services.delivery.clients.mx_connector import NoConnection
from services.delivery.domain.attempt_result import END_OF_DATA, AttemptResult
from services.delivery.domain.tls_policy import ENFORCED_ONLY, TlsPolicy
from tests.support.connections import (
    PoolEnvironment,
    acquire,
    run_ready_tasks,
    sessions_of,
    start_waiters,
)

ACCEPTED = AttemptResult(END_OF_DATA, Reply(250, "2.0.0", "ok"))
LISTED = TlsPolicy(
    "a.example", mta_sts=MtaStsPolicy(MtaStsMode.ENFORCE, ("1.example", "2.example"), 86_400)
)
UNLISTED = TlsPolicy(
    "b.example", mta_sts=MtaStsPolicy(MtaStsMode.ENFORCE, ("elsewhere.example",), 86_400)
)


def test_a_message_that_must_have_tls_does_not_use_an_idle_connection_without(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        clear = await acquire(pool)
        pool.release(clear, ACCEPTED)
        environment.network.verified.add("1.example")
        secure = await acquire(pool, policy=ENFORCED_ONLY)
        assert secure is not clear
        pool.release(secure, ACCEPTED)
        assert await acquire(pool, policy=LISTED) is secure  # it has what both require
        assert len(environment.network.dialed) == 2

    run(scenario)


def test_a_connection_in_clear_text_is_not_handed_to_a_message_that_must_have_tls(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool(connections_max=1)
        clear = await acquire(pool)
        environment.network.verified.add("1.example")
        [secure] = await start_waiters(pool, 1, policy=ENFORCED_ONLY)
        [plain] = await start_waiters(pool, 1)
        pool.release(clear, ACCEPTED)
        await run_ready_tasks()
        assert sessions_of([plain]) == [clear]
        assert not secure.done()
        pool.release(clear, ACCEPTED)  # nobody else wants it, so it makes room
        await run_ready_tasks()
        assert sessions_of([secure]) != [clear]
        assert secure.done()

    run(scenario)


def test_a_policy_that_refuses_a_host_does_not_slow_down_other_mail_to_it(
    run: Callable[..., None],
) -> None:
    """Whoever names a provider's hosts in MX records can publish such a policy."""

    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        for policy in (UNLISTED, ENFORCED_ONLY):
            with pytest.raises(NoConnection) as refused:
                await acquire(pool, policy=policy)
            assert refused.value.result.is_policy_failure
        tasks = await start_waiters(pool, 10)
        for _ in range(20):
            for session in sessions_of(tasks):
                if session in pool._in_use:
                    pool.release(session, ACCEPTED)
            await run_ready_tasks()
        assert len(sessions_of(tasks)) == 10
        assert pool.limit > 2

    run(scenario)


def test_all_messages_with_the_same_policy_fail_together(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        pool = environment.pool()
        pool.limit = 1
        strict = await start_waiters(pool, 5, policy=ENFORCED_ONLY)
        await run_ready_tasks()
        assert all(isinstance(task.exception(), NoConnection) for task in strict)
        assert environment.network.dialed == ["1.example"]
        assert pool.is_empty

    run(scenario)


def test_a_host_that_the_policy_does_not_list_is_passed_over(run: Callable[..., None]) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.verified |= {"2.example", "3.example"}
        pool = environment.pool()
        session = await acquire(pool, "3.example", "2.example", policy=LISTED)
        assert environment.network.dialed == [session.peer.mx] == ["2.example"]
        pool.release(session, ACCEPTED)
        assert await acquire(pool, "3.example", "2.example", policy=LISTED) is session

    run(scenario)


def test_a_backup_is_used_while_a_better_host_has_no_valid_certificate(
    run: Callable[..., None],
) -> None:
    async def scenario(environment: PoolEnvironment) -> None:
        environment.network.verified.add("2.example")
        pool = environment.pool()
        for _ in range(2):
            session = await acquire(pool, "1.example", "2.example", policy=LISTED)
            assert session.peer.mx == "2.example"
            pool.release(session, ACCEPTED)
        assert environment.network.dialed == ["1.example", "2.example"]
        assert (await acquire(pool, "1.example", "2.example")).peer.mx == "1.example"

    run(scenario)
