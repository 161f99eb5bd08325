"""The simulation of outcomes, on made mail."""

import numpy as np

from bench.shield_learning import OWN_DOMAINS, Mail, World, line, run, shipped_baseline
from tests.unit.services.shield.learning.facts import made

MAILS = [Mail(*each) for each in made()]


def test_a_seed_gives_the_same_scores_and_figures() -> None:
    first, second = (run(World(shipped_baseline()), MAILS, seed=3) for _ in range(2))
    assert (first.learned == second.learned).all()
    assert len(first.bad) == len(MAILS) // 2
    assert line("learns", first, first.learned).split()[0] == "learns"
    assert 0 <= first.recall(first.learned) <= 1


def test_an_attacker_complains_about_good_mail_alone() -> None:
    world = World(shipped_baseline(), OWN_DOMAINS)
    for bad in (False, True):
        mail = Mail(bad, -5.0, MAILS[0].entries)
        reports = [
            report
            for seed in range(40)
            for report in world.reports(mail, np.random.default_rng(seed))
        ]
        domains = {domain for *_, domain in reports if domain.startswith("own")}
        assert domains == (set() if bad else {"own0.example", "own1.example"})
