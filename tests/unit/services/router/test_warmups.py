"""All warmups as one limit source: counting, sites, and the fold of events."""

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED as DELIVERED
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY as TEMPORARY
from contracts.router.v1.policies_pb2 import WarmupCommand
from services.router.domain import warmup
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import NO_LIMITS
from services.router.domain.policies import egress_site_scope
from services.router.domain.ramps import Ramp
from services.router.domain.results import ObservedResult
from services.router.domain.warmup import DAY_S, WarmupChanged, WarmupChangeKind
from services.router.domain.warmups import HOURS_MIN, Warmups, engaged_within

RAMP = Ramp("test", "day", (200, 500, 1_000, 2_000), "the test")
HOURLY = Ramp("hourly", "hour", (20, 28), "the test")
BIG = ("google", "yahoo")


def make_warmups(ramp: Ramp = RAMP, *, spread: bool = False) -> Warmups:
    warmups = Warmups({ramp.name: ramp}, big_sites=BIG, spreads=lambda _: spread)
    warmups.apply(warmup.start("ip", "", ramp=ramp, now_s=0.0))
    return warmups


def result(
    count: int, *, site: str = "google", at_s: float = 1.0, refused: bool = False
) -> ObservedResult:
    return ObservedResult(
        "tenant",
        site,
        "ip",
        "mx",
        at_s,
        at_s,
        connected=True,
        outcome=TEMPORARY if refused else DELIVERED,
        bounce_class="rate_limited" if refused else "",
        count=count,
    )


def test_a_source_without_a_warmup_has_no_limit() -> None:
    warmups = Warmups({RAMP.name: RAMP})
    warmups.record([result(1_000)])
    assert warmups.decide(DAY_S) == []
    assert warmups.limits_of(LimitScope(ScopeKind.WARMUP, "ip"), 0.0) is NO_LIMITS


def test_a_big_site_is_limited_before_its_first_message() -> None:
    warmups = make_warmups()
    assert warmups.limits_of(egress_site_scope("ip", "google"), 0.0).per_day == 200
    assert warmups.limits_of(egress_site_scope("ip", "small.example"), 0.0) is NO_LIMITS


def test_a_small_site_that_refuses_gets_a_warmup_of_its_own() -> None:
    warmups = make_warmups()
    warmups.record(
        [result(15, site="small.example"), result(10, site="small.example", refused=True)]
    )
    [event] = warmups.decide(60.0)
    assert (event.site, event.change) == ("small.example", WarmupChangeKind.LOWERED)
    whole = warmups.state_of("ip")
    assert whole
    assert whole.per_day == 200


def test_a_site_that_refuses_slows_down_alone() -> None:
    warmups = make_warmups()
    warmups.record([result(50), result(50, site="yahoo"), result(50, site="yahoo", refused=True)])
    assert [event.site for event in warmups.decide(60.0)] == ["yahoo"]
    assert warmups.limits_of(egress_site_scope("ip", "google"), 60.0).per_day == 200
    assert warmups.limits_of(egress_site_scope("ip", "yahoo"), 60.0).per_day == 25


def test_an_hourly_ramp_limits_the_hour() -> None:
    limits = make_warmups(HOURLY).limits_of(LimitScope(ScopeKind.WARMUP, "ip"), 0.0)
    assert (limits.per_hour, limits.per_day) == (20, 480)


def test_without_overflow_the_allowance_is_spread_over_the_hours_left() -> None:
    warmups = make_warmups(spread=True)
    scope = LimitScope(ScopeKind.WARMUP, "ip")
    assert warmups.limits_of(scope, 0.0).per_hour == 9  # 200 / 24
    warmups.record([result(100)])
    assert warmups.limits_of(scope, DAY_S - 2 * 3600).per_hour == 50
    assert make_warmups().limits_of(scope, 0.0).per_hour == -(-200 // HOURS_MIN)


def test_a_source_that_an_operator_knows_to_be_warm_has_no_limit_anywhere() -> None:
    warmups = make_warmups()
    warmups.record([result(50)])
    assert {
        event.site
        for event in warmups.execute(WarmupCommand(egress_id="ip", action="finish"), 60.0)
    } == {"", "google"}
    for site in ("google", "yahoo"):
        assert warmups.limits_of(egress_site_scope("ip", site), 60.0) is NO_LIMITS
    assert warmups.record([result(50, site="yahoo")]) == []


def test_the_day_ends_without_mail_too() -> None:
    warmups = make_warmups()
    assert warmups.decide(DAY_S - 1) == []
    [event] = warmups.decide(DAY_S)
    assert (event.change, event.reason) == (WarmupChangeKind.HELD, "not_used")
    assert [e.at_s for e in warmups.decide(2 * DAY_S)] == [2 * DAY_S]


def test_complaints_count_for_the_source_and_the_site() -> None:
    warmups = make_warmups()
    warmups.record([result(1_500)])
    warmups.record_complaints("ip", "google", 5)
    assert {event.reason for event in warmups.decide(60.0)} == {"complaints"}


def test_attempts_that_never_connected_do_not_use_the_allowance() -> None:
    warmups = make_warmups()
    warmups.record([result(200)._replace(connected=False)])
    assert warmups.facts_of("ip").used == 0


def test_engaged_recipients_are_those_who_opened_lately() -> None:
    opened = {("t", "ann@example.com"): 1000.0}
    is_engaged = engaged_within(500.0, lambda *key: opened.get(key), now_s=1400.0)
    assert is_engaged("t", "ann@example.com")
    assert not is_engaged("t", "bob@example.com")
    assert not engaged_within(100.0, lambda *key: opened.get(key), now_s=1400.0)(
        "t", "ann@example.com"
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(["google", "yahoo", "small.example"]),
        st.integers(0, 3_000),
        st.integers(0, 300),
        st.floats(600, 40 * DAY_S),
    ),
    max_size=25,
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_every_state_is_the_fold_of_its_events(steps: list[tuple[str, int, int, float]]) -> None:
    warmups, now_s = make_warmups(), 0.0
    events: list[WarmupChanged] = [warmup.start("ip", "", ramp=RAMP, now_s=0.0)]
    for site, delivered, refused, passed_s in steps:
        now_s += passed_s
        results = [result(delivered, site=site, at_s=now_s)]
        results += [result(refused, site=site, at_s=now_s, refused=True)] if refused else []
        events += warmups.record(results)
        before = {e.site: warmups.state_of("ip", e.site) for e in events}
        for event in warmups.decide(now_s):
            events.append(event)
            earlier = before.get(event.site)
            assert not earlier or event.per_day <= max(2.5 * earlier.per_day + 1, 200)
        assert warmups.decide(now_s) == []
    for site in ("", "google", "yahoo", "small.example"):
        own = [event for event in events if event.site == site]
        if state := warmups.state_of("ip", site):
            assert warmup.fold("ip", site, own) == state
        else:
            assert own == []


def test_a_source_goes_on_warming_up_after_its_ramp_was_removed_or_cut() -> None:
    """The scheduler loads its state with the ramps that there are now."""
    warm = make_warmups(Ramp("old", "day", (200, 500, 1_000, 5_000, 9_000), "the test"))
    state = warm.state_of("ip")
    assert state is not None
    loaded = Warmups({RAMP.name: RAMP}, big_sites=BIG)

    loaded.load(state._replace(stage=4, per_day=9_000))
    loaded.record([result(9_000)])

    assert loaded.limits_of(LimitScope(ScopeKind.WARMUP, "ip"), 0.0).per_day == 9_000
    [ended] = [one for one in loaded.decide(DAY_S) if not one.site]
    assert ended.change is WarmupChangeKind.FINISHED
