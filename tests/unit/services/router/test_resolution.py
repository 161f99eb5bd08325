"""Messages that wait for DNS: which domains are looked up, and in which order."""

from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.message import ScheduledQueue
from services.router.domain.resolution import look_up
from services.router.domain.routes import Answer, LookupFailure, Route


def queues(tenant: str, *domains: str) -> list[ActiveQueue]:
    scheduled = [ScheduledQueue(tenant, "unresolved", domain=domain) for domain in domains]
    return [ActiveQueue(queue.queue_id, 1, queue) for queue in scheduled]


def test_tenants_alternate_and_none_starts_more_lookups_than_its_share() -> None:
    started: list[str] = []

    def start_lookup(domain: str, start: bool) -> Answer | None:
        if start:
            started.append(domain)
        return None

    many = queues("a", *(f"a{n}.test" for n in range(10)))
    look_up(many + queues("b", "b.test"), start_lookup, lookups_max=3)
    assert started == ["a0.test", "b.test", "a1.test", "a2.test"]


def test_cached_answers_are_used_while_other_lookups_run() -> None:
    cached: dict[str, Answer] = {
        "good.test": Route("site", ()),
        "dead.test": LookupFailure(5.0, "down"),
    }
    running = queues("a", *(f"d{n}.test" for n in range(10)))
    good, down = queues("a", "good.test", "dead.test")
    results = look_up([*running, good, down], lambda domain, _: cached.get(domain), lookups_max=1)
    assert results.answers == {good: cached["good.test"]}
    assert results.failed == {down: cached["dead.test"]}
