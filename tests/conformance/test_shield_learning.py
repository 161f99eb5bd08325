"""What shield learns from outcomes, on labelled mail that the model was not trained on.

Reads ../shared/data/mail beside the repository. Skipped if it is absent; with CI=1 that is a
failure. `python -m bench.shield_learning` prints the figures.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.shield_corpus import read_pack
from bench.shield_learning import (
    ANY_ADDRESSES,
    FEW_ADDRESSES,
    OWN_DOMAINS,
    Attack,
    Mail,
    World,
    run,
    shipped_baseline,
    unseen_mail,
    worst_chosen,
)
from services.shield.domain.learning.facts import Fact
from services.shield.domain.learning.fingerprints import Fingerprint, campaign_keys
from services.shield.domain.learning.learner import Learner
from services.shield.domain.learning.versions import CanaryCheck, LearnedVersion, propose
from tests.unit.services.shield.learning.copies import (
    are_one_campaign,
    fingerprint,
    personalised,
)

FOLDER = Path(bench.__file__).parents[2] / "shared/data/mail"
SEED = 1
FEW = 1_200  # mails


@pytest.fixture(scope="module")
def folder() -> Path:
    if not FOLDER.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{FOLDER} is absent: CI needs the labelled mail")
        pytest.skip(f"left out: {FOLDER} is absent")
    return FOLDER


@pytest.fixture(scope="module")
def mails(folder: Path) -> list[Mail]:
    return unseen_mail(folder)


def test_copies_are_one_campaign_and_mail_of_others_is_not(folder: Path) -> None:
    packs = ("nazario", "modern_newsletters", "templates_ham", "modern_inbox")
    found = [
        (sample.file, sample.content, fingerprint(sample.content))
        for name in packs
        for sample in read_pack(folder / f"{name}.jsonl.zst")
    ]
    copies = [
        are_one_campaign(first, fingerprint(personalised(content, number)))
        for number, (_, content, first) in enumerate(found)
    ]
    assert sum(copies) >= 0.97 * len(copies)
    seen: dict[str, list[tuple[str, Fingerprint]]] = {}
    for file, _, each in found:
        for key in campaign_keys(each):
            seen.setdefault(key, []).append((file, each))
    met = [pair for group in seen.values() for pair in combinations(group, 2)]
    strangers = [
        (one, other) for (pack, one), (pack_of_other, other) in met if pack != pack_of_other
    ]
    assert not any(are_one_campaign(*pair) for pair in strangers)


def test_outcomes_raise_the_recall(mails: list[Mail]) -> None:
    scores = run(World(shipped_baseline()), mails, seed=SEED)
    assert scores.recall(scores.learned) >= scores.recall(scores.static) + 0.05
    assert scores.auc(scores.learned) > scores.auc(scores.static)


@pytest.mark.parametrize("attack", [OWN_DOMAINS, FEW_ADDRESSES, ANY_ADDRESSES, "worst chosen"])
def test_false_complaints_hold_no_good_mail(mails: list[Mail], attack: Attack | str) -> None:
    """About a fifth of the good campaigns, each as many complaints as abuse has; at worst the fifth
    that looks most like abuse."""
    attack = worst_chosen(mails) if isinstance(attack, str) else attack
    scores = run(World(shipped_baseline(), attack), mails, seed=SEED)
    assert scores.fpr(scores.learned) <= 2 * scores.fpr(scores.static)


class RecordingWorld(World):
    """Keeps its facts."""

    def __init__(self, baseline: CanaryCheck, name: str) -> None:
        super().__init__(baseline, name=name)
        self.facts: list[Fact] = []

    def apply(self, fact: Fact) -> None:
        self.facts.append(fact)
        super().apply(fact)

    def record(self, mail: Mail, tenant_id: str, seed: int) -> list[Fact]:
        """The facts of a campaign."""
        known = len(self.facts)
        self.send(mail, tenant_id, np.random.default_rng(seed))
        return self.facts[known:]


def version_of(baseline: CanaryCheck, facts: Iterable[Fact]) -> LearnedVersion:
    learner = Learner(baseline)
    for offset, fact in enumerate(facts):
        learner.apply([fact], offset)
    return propose(baseline, learner.state.deltas)[0]


def test_no_tenant_moves_the_score_of_another_one_by_more_than_a_point(mails: list[Mail]) -> None:
    """An intruder sends the mail of others, and its outcomes are the contrary of theirs."""
    baseline = shipped_baseline()
    others, intruder = RecordingWorld(baseline, "c"), RecordingWorld(baseline, "intruder")
    without: list[Fact] = []
    with_intruder: list[Fact] = []
    for number, at in enumerate(np.random.default_rng(SEED).permutation(len(mails))[:FEW]):
        facts = others.record(mails[at], f"tenant{number % 400}", number)
        without += facts
        with_intruder += facts
        if number % 10 == 0:
            lie = replace(mails[at], bad=not mails[at].bad)
            with_intruder += intruder.record(lie, "intruder", number)
    one, other = version_of(baseline, without), version_of(baseline, with_intruder)
    moved = [
        abs(one.points(mail.margin, mail.entries) - other.points(mail.margin, mail.entries))
        for mail in mails
    ]
    assert 0.1 < max(moved) <= 1
