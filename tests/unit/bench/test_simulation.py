"""The simulation of receivers is not a friend, and the engine's modules pass it."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from numpy.random import default_rng
from typer.testing import CliRunner

from bench.simulation.__main__ import app
from bench.simulation.outbox import Age, Outbox
from bench.simulation.parameters import DAY_S, HOUR_S, load_world
from bench.simulation.receiver import BLOCKED, RATE_LIMITED, Offer, Receiver
from bench.simulation.referee import Referee, Sent
from bench.simulation.report import Outcome, outcome_of
from bench.simulation.run import Run, Setting
from bench.simulation.senders.catalog import OURS, senders
from mail.mx import site_of
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Limits

WORLD = load_world()
QUICK = Setting(days=20, volume=20_000)


def simulate(name: str, seed: int) -> Outcome:
    return outcome_of(Run(senders()[name], WORLD, QUICK, seed=seed).simulate())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_new_source_reaches_full_volume_without_a_block_or_a_limit_exceeded(seed: int) -> None:
    outcome = simulate(OURS, seed)
    assert not outcome.blocked
    assert outcome.full_volume_day <= 8  # SparkPost's table: 7, if every day has mail enough
    assert outcome.refused_share < 0.01
    assert outcome.limit_violations == 0


def test_a_source_recovers_from_a_listing_and_no_good_tenant_is_paused() -> None:
    outcome = outcome_of(Run(senders()[OURS], WORLD, Setting(), seed=133).simulate())
    assert (outcome.blocks, outcome.recovered) == (1, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_naive_sender_is_blocked(seed: int) -> None:
    outcome = simulate("naive", seed)
    assert outcome.blocked
    assert outcome.refused_share > 0.5


def make_receiver() -> Receiver:
    receiver = Receiver(WORLD.sites[0], WORLD, ips=1, tenants=2, random=default_rng(1))
    receiver.begin_hour(0.0)
    return receiver


def offer(number: int, *, notices_after: int = 10**9) -> Offer:
    return Offer(0, number, 0, 0.0, notices_after)


@pytest.mark.parametrize("name", ["kumomta", "kumomta-ramped", "postal", "sparkpost"])
def test_a_peer_sends_by_its_published_schedule(name: str) -> None:
    history = Run(senders()[name], WORLD, Setting(days=4, volume=2_000), seed=1).simulate()
    assert history.attempted > 0
    assert history.violations == 0


def test_a_receiver_refuses_what_its_memory_does_not_explain() -> None:
    receiver = make_receiver()
    tolerance = int(receiver.seen[0].tolerance)
    reply = receiver.offer(0, offer(tolerance + 1), 0.0)
    assert 0 < reply.delivered < tolerance
    assert [refusal.kind for refusal in reply.refusals] == [RATE_LIMITED]


def test_a_sender_that_does_not_stop_is_blocked_and_one_that_stops_is_not() -> None:
    for notices_after, kinds in ((10**9, [BLOCKED]), (50, [RATE_LIMITED])):
        receiver = make_receiver()
        receiver.offer(0, offer(50_000, notices_after=notices_after), 0.0)
        reply = receiver.offer(0, offer(10), 60.0)
        assert [refusal.kind for refusal in reply.refusals] == kinds


def test_complaints_lower_what_a_receiver_takes() -> None:
    receiver = make_receiver()
    seen = receiver.seen[0]
    seen.best = 10_000.0
    receiver.begin_hour(HOUR_S)
    before = seen.tolerance
    receiver.offer(0, offer(2_000), HOUR_S)
    receiver.complain(0, 0, 8)
    receiver.begin_hour(2 * HOUR_S)
    assert seen.tolerance < before / 2
    receiver.complain(0, 0, 20)
    receiver.begin_hour(3 * HOUR_S)
    assert seen.blocked_until_s > 3 * HOUR_S


def test_hammering_prolongs_a_block() -> None:
    receiver = make_receiver()
    receiver.list_source(receiver.seen[0], 0.0, HOUR_S, own_doing=False)
    receiver.offer(0, offer(100), 0.9 * HOUR_S)
    assert receiver.seen[0].blocked_until_s == HOUR_S
    receiver.offer(0, offer(500), 0.9 * HOUR_S)
    assert receiver.seen[0].blocked_until_s > 4 * HOUR_S


def test_the_hosts_of_the_worlds_sites_are_those_of_the_sites() -> None:
    assert [site_of([site.host]) for site in WORLD.sites] == [site.name for site in WORLD.sites]
    assert sum(site.share for site in WORLD.sites) == pytest.approx(1.0)


def test_the_referee_counts_windows_by_brute_force() -> None:
    referee, scope = Referee(), LimitScope(ScopeKind.WARMUP, "ip")
    limits = Limits(per_day=10)
    referee.count(scope, Sent(0, 6, limits, suspended=False))
    referee.count(scope, Sent(23, 4, limits, suspended=False))
    assert referee.violations(100) == 0
    referee.count(scope, Sent(24, 7, limits, suspended=False))
    referee.count(scope, Sent(60, 1, limits, suspended=True))
    assert referee.violations(100) == 2


def test_deferred_messages_come_back_on_time_and_expire() -> None:
    outbox = Outbox(1)
    outbox.fresh[0][0] = 10
    taken = outbox.take(0, 0, 4)
    assert (taken.fresh, outbox.waiting(0, 0)) == (4, 6)
    outbox.defer(0, 0, Age(1, 0.0), count=4, step=2)
    outbox.begin_step(1, lifetime_s=DAY_S)
    assert outbox.waiting(0, 0) == 6
    outbox.begin_step(2, lifetime_s=DAY_S)
    assert outbox.waiting(0, 0) == 10
    outbox.defer(0, 0, Age(2, 0.0), count=1, step=30)
    outbox.begin_step(30, lifetime_s=DAY_S)
    assert outbox.expired == 1


def test_the_command_writes_figures_and_a_picture(tmp_path: Path) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    arguments = ["--seeds", "1", "--days", "20", "--volume", "5000", "--first-seed", "3"]
    arguments += ["--sender", "naive", "--sender", OURS]
    result = CliRunner().invoke(
        app, [*arguments, "--json", str(figures), "--picture", str(picture)]
    )
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())
    assert (written["seeds"], written["days"], written["sparkpost_days"]) == (1, 20, 5)
    keys = {"blocked_share", "refused_share_p95", "full_volume_days_p95", "recovered_share"}
    assert keys | {"limit_violations"} <= written["ours"].keys()
    assert "naive" in written
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
