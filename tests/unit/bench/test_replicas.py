from bench.replicas import Drained, accepted_again, assigned_again, summarize, with_free_ports
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.topics import event_id


def turn(replicas: int, wall_s: float, cpu_s: float) -> Drained:
    """800 of 1,000 messages after the last was published."""
    return Drained(replicas, 800, wall_s, 1000, cpu_s, {"kafka": 0.1 * replicas}, 1 / replicas)


def test_rates_are_medians_of_what_remained_and_of_all_that_was_done() -> None:
    turns = [turn(1, 1.0, 0.5), turn(2, 0.5, 0.625), turn(1, 1.0, 0.5), turn(2, 0.625, 0.625)]
    found = summarize([*turns, turn(1, 9.0, 9.0), turn(2, 9.0, 9.0)])
    assert (found["one_per_s"], found["two_per_s"], found["ratio"]) == (800, 1280, 1.6)
    assert (found["one_per_cpu_s"], found["each_of_two_per_cpu_s"]) == (2000, 1600)
    assert found["ratio_by_cpu"] == 1.6
    assert found["busiest_of_two"] == 0.5
    assert found["others_cpu_ms"] == {"kafka": 0.15}


def test_an_event_is_new_work_for_its_consumer() -> None:
    accepted = MessageAccepted(message_id="a")
    again = accepted_again(accepted, 0)
    assert event_id(again) != event_id(accepted)
    assert again.context.message_id == again.message_id
    assigned = DeliveryAssigned(message_id="a", attempt=1, per_second_max=1.0)
    attempts = [assigned_again(assigned, repeat) for repeat in range(3)]
    assert [one.attempt for one in attempts] == [2, 3, 4]
    assert attempts[0].per_second_max == 0
    assert attempts[0].not_after.ToDatetime() > clock.now().replace(tzinfo=None)


def test_a_replica_has_listeners_of_its_own() -> None:
    settings = {"SHIELD_RPC_LISTEN": "127.0.0.1:1", "ROUTER_RPC_LISTEN": "127.0.0.1:2", "A": "b"}
    found = with_free_ports("shield", settings)
    assert found["SHIELD_RPC_LISTEN"] != settings["SHIELD_RPC_LISTEN"]
    assert {**found, "SHIELD_RPC_LISTEN": "127.0.0.1:1"} == settings
