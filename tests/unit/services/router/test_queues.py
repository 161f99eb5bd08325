"""The id of a queue names all of its parts."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.message import Priority, ScheduledQueue
from services.router.domain.routes import site_name


@given(
    priority=st.sampled_from(Priority),
    site=st.sampled_from(["google", "mx.example.com", "unresolved"]),
    egress_id=st.sampled_from(["", "019ab000-0000-7000-8000-00000000000b"]),
    domain=st.sampled_from(["", "example.com"]),
)
def test_a_queue_is_found_from_its_id(
    priority: Priority, site: str, egress_id: str, domain: str
) -> None:
    queue = ScheduledQueue("t", site, priority, domain, egress_id)
    assert ScheduledQueue.of(queue.queue_id) == queue


def test_ids_of_ordinary_queues_are_short() -> None:
    assert ScheduledQueue("t", "site").queue_id == "t/site"
    assert ScheduledQueue("t", "site", Priority.BULK).queue_id == "t/site/bulk"
    assert ScheduledQueue("t", "site", egress_id="e").queue_id == "t/site@e"


def test_the_site_of_a_strange_host_name_separates_no_parts() -> None:
    assert not set("@/") & set(site_name(["mx/1@evil.example"]))
