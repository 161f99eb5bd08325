"""The order in which attempts from one egress source to one site begin."""

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.delivery.domain.owned_attempt import AttemptKey, OwnedAttempt
from services.delivery.domain.priority_queue import EXPRESS_WEIGHT, PriorityQueue


def attempt(name: str) -> OwnedAttempt:
    priority = PRIORITY_BULK if name.startswith("bulk") else PRIORITY_EXPRESS
    assignment = DeliveryAssigned(priority=priority)
    return OwnedAttempt(AttemptKey(name, 1), assignment, epoch=1, until_s=0.0)


def queue(*names: str) -> PriorityQueue:
    one = PriorityQueue()
    for name in names:
        one.push(attempt(name))
    return one


def names(attempts: list[OwnedAttempt]) -> list[str]:
    return [one.key.message_id for one in attempts]


def all_of(one: PriorityQueue) -> list[str]:
    return names([one.pop() for _ in range(len(one))])


def test_express_mail_does_not_wait_for_bulk() -> None:
    assert all_of(queue("bulk1", "bulk2", "a", "b")) == ["a", "b", "bulk1", "bulk2"]


def test_bulk_mail_has_its_turn_while_express_mail_never_ends() -> None:
    one = queue("bulk1", "bulk2", *(f"{n}" for n in range(4 * EXPRESS_WEIGHT)))
    order = all_of(one)
    assert [order.index("bulk1"), order.index("bulk2")] == [EXPRESS_WEIGHT, 2 * EXPRESS_WEIGHT + 1]
    assert [name for name in order if name.isdecimal()] == [
        f"{n}" for n in range(4 * EXPRESS_WEIGHT)
    ]


def test_bulk_mail_that_arrives_later_waits_for_its_turn() -> None:
    one = queue(*(f"{n}" for n in range(50)))
    for _ in range(40):
        one.pop()
    one.push(attempt("bulk1"))
    assert all_of(one) == [*(f"{n}" for n in range(40, 50)), "bulk1"]


def test_what_is_cleared_is_returned() -> None:
    one = queue("bulk1", "a")
    assert names(one.clear()) == ["a", "bulk1"]
    assert len(one) == 0
