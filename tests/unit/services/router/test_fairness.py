"""Who is served, and who waits in whose ring."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.fairness import OpenLane, Shares, share
from services.router.domain.message import Lane
from services.router.domain.windows import Room

WIDE = Room(10_000)


def lanes(*keys: str) -> list[OpenLane]:
    return [OpenLane.of(key, 1) for key in keys]


def shared(
    opened: list[OpenLane], rooms: dict[str, Room] | None = None, *, batch_max: int = 100
) -> Shares:
    rooms = rooms or {}
    return share(
        opened,
        rings_of=lambda lane: (f"tenant/{lane.tenant_id}", f"pool/p/{lane.site}"),
        room_of=lambda ring: rooms.get(ring, WIDE),
        batch_max=batch_max,
    )


def test_a_tenant_with_a_thousand_lanes_takes_no_more_than_one_with_a_single_lane() -> None:
    many = [f"big/site{n}" for n in range(1000)]
    quotas = shared(lanes(*many, "small/site0"), batch_max=100).quotas
    assert quotas["small/site0"] == 50
    assert sum(quotas.values()) == 100


def test_bulk_gets_a_tenth_while_express_waits_and_all_when_it_does_not() -> None:
    quotas = shared(lanes("a/s/bulk", "a/s"), batch_max=110).quotas
    assert quotas == {"a/s/bulk": 10, "a/s": 100}
    assert shared(lanes("a/s/bulk"), batch_max=110).quotas == {"a/s/bulk": 110}


def test_a_lane_that_a_full_scope_refuses_waits_in_its_ring() -> None:
    full = Room(0, 60.0, "per_hour")
    shares = shared(lanes("a/s", "b/s"), {"tenant/a": full})
    assert [(lane.key, lane.ring, lane.room) for lane in shares.parked] == [
        ("a/s", "tenant/a", full)
    ]
    assert set(shares.quotas) == {"b/s"}


def test_of_two_full_scopes_the_one_with_the_latest_release_binds() -> None:
    shares = shared(
        lanes("a/s"), {"tenant/a": Room(0, 60.0, "per_hour"), "pool/p/s": Room(0, 5.0, "x")}
    )
    assert shares.parked[0].ring == "tenant/a"


def test_a_lane_that_only_had_no_turn_is_not_parked() -> None:
    shares = shared(lanes("a/s", "a/t"), {"tenant/a": Room(1)}, batch_max=100)
    assert not shares.parked
    assert sum(shares.quotas.values()) == 1


keys = st.lists(
    st.builds(
        lambda tenant, site, bulk: Lane(tenant, site, bulk).key,
        st.sampled_from("abcde"),
        st.sampled_from(["s", "t", "u"]),
        st.booleans(),
    ),
    unique=True,
    max_size=25,
)
rooms = st.dictionaries(
    st.sampled_from(
        [f"tenant/{tenant}" for tenant in "abcde"] + [f"pool/p/{site}" for site in "stu"]
    ),
    st.integers(0, 60).map(lambda free: Room(free, 10.0, "x")),
)


@given(keys=keys, rooms=rooms, batch_max=st.integers(1, 200))
def test_quotas_fit_every_scope_and_the_batch_together(
    keys: list[str], rooms: dict[str, Room], batch_max: int
) -> None:
    shares = shared(lanes(*keys), rooms, batch_max=batch_max)
    assert sum(shares.quotas.values()) <= batch_max
    used: dict[str, int] = {}
    for key, quota in shares.quotas.items():
        lane = Lane.of(key)
        for ring in (f"tenant/{lane.tenant_id}", f"pool/p/{lane.site}"):
            used[ring] = used.get(ring, 0) + quota
    assert all(number <= rooms.get(ring, WIDE).free for ring, number in used.items())
    parked = {lane.key for lane in shares.parked}
    assert not parked & set(shares.quotas)
    assert all(rooms[lane.ring].free == 0 for lane in shares.parked)


@given(keys=keys, batch_max=st.integers(50, 200))
def test_whoever_has_room_gets_something_when_there_is_a_turn_for_all(
    keys: list[str], batch_max: int
) -> None:
    """25 lanes at most, quanta of ten: in two hundred and fifty every lane had its turn; tenants
    come first, so with fewer each tenant has."""
    quotas = shared(lanes(*keys), batch_max=batch_max).quotas
    assert {Lane.of(key).tenant_id for key in quotas} == {Lane.of(key).tenant_id for key in keys}
