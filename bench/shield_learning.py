"""`python -m bench.shield_learning [FOLDER]`: what shield learns from the outcomes of campaigns.

Each message of the packs (see `bench.shield_corpus`) that the model has not seen is a campaign of
5,000 deliveries of one of many tenants, half of whom send abuse. Abuse has 0.4 %
complaints on average, good mail 0.04 %, log-normally distributed. A message is scored by the
version that is in force when it comes, then its outcomes are learned. What is held has no outcome;
a reviewer sees half of it, and is right in 19 of 20 cases. The figures are of the second half of
the messages.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.shield import auc, recall_at_fpr, shipped_scorer
from bench.shield_corpus import EVALUATION_ONLY, Sample, samples
from bench.shield_model.__main__ import PACKS, SHIELD
from bench.shield_model.canaries import is_canary, weighed
from services.shield.domain.learning.canaries import read_canaries
from services.shield.domain.learning.entries import Learned, pack_learned
from services.shield.domain.learning.facts import (
    CampaignStarted,
    Fact,
    MessageOutcome,
    OutcomeKind,
    VersionChanged,
    VersionPublished,
)
from services.shield.domain.learning.learner import Learner
from services.shield.domain.learning.versions import CanaryCheck, LearnedVersion, unpack_version
from services.shield.domain.model.margin import HOLD_POINTS

GOOD_PACKS = frozenset(
    {"enron_raw", "spamassassin", "modern_newsletters", "templates_ham", "modern_inbox"}
)
Random: TypeAlias = np.random.Generator
Floats: TypeAlias = npt.NDArray[np.float64]

HOUR_S = 3_600.0
STEPS, STEP = 5, 1_000  # deliveries of a campaign
BAD_RATE, GOOD_RATE, SIGMA = 0.004, 0.0004, 0.5
REVIEWED, RIGHT = 0.5, 0.95
TENANTS = 1_500
BETWEEN_S = 0.1 * HOUR_S  # campaigns
ATTACKED, FALSE_COMPLAINTS = 0.2, 20  # share of good campaigns; complaints about each
FPR = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Mail:
    bad: bool
    margin: float
    entries: Learned


@dataclass(frozen=True, slots=True)
class Attack:
    """False complaints about good mail. addresses: of the attacker. domains: of their own; 0: at
    large mailbox providers. margin_from: of the mail that is attacked; None: any."""

    addresses: int
    domains: int
    margin_from: float | None = None

    def hits(self, mail: Mail, random: Random) -> bool:
        if self.margin_from is None:
            return not mail.bad and random.random() < ATTACKED
        return not mail.bad and mail.margin >= self.margin_from

    def report(self, hours: float, random: Random) -> "Report":
        number = int(random.integers(self.addresses))
        domain = f"own{number % self.domains}.example" if self.domains else "large.example"
        return hours, OutcomeKind.COMPLAINED, 1, f"attacker{number}", domain


OWN_DOMAINS, FEW_ADDRESSES = Attack(40, domains=2), Attack(40, domains=0)
ANY_ADDRESSES = Attack(1 << 60, domains=0)


def worst_chosen(mails: Sequence[Mail]) -> Attack:
    """About the good mail that looks worst, and which the attacker knows."""
    margins = [mail.margin for mail in mails if not mail.bad]
    worst = float(np.quantile(margins, 1 - ATTACKED))
    return Attack(ANY_ADDRESSES.addresses, domains=0, margin_from=worst)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of the second half of the messages: points without and with what was learned."""

    bad: npt.NDArray[np.bool_]
    static: Floats
    learned: Floats

    def recall(self, points: Floats) -> float:
        return recall_at_fpr(points[self.bad], points[~self.bad], FPR)

    def auc(self, points: Floats) -> float:
        return auc(points[self.bad], points[~self.bad])

    def fpr(self, points: Floats) -> float:
        """Of good mail, at the points that 1 % of it reaches without what was learned."""
        level = np.quantile(self.static[~self.bad], 1 - FPR)
        return float(np.mean(points[~self.bad] >= level))


def shipped_baseline() -> CanaryCheck:
    return CanaryCheck.of(
        shipped_scorer().model, read_canaries((SHIELD / "shield.model").read_bytes())
    )


def unseen_mail(folder: Path) -> list[Mail]:
    """Phishing of 2022 to 2024, which is never trained on, and good mail of the test splits that is
    no canary."""
    scorer = shipped_scorer()
    return [
        Mail(sample.bad, *weighed(scorer, sample.content))
        for sample in samples(folder)
        if EVALUATION_ONLY in sample.file or is_unseen_good(sample)
    ]


def is_unseen_good(sample: Sample) -> bool:
    is_test = sample.split == "test" and not sample.bad and sample.file in GOOD_PACKS
    return is_test and not is_canary(sample)


Report = tuple[float, OutcomeKind, int, str, str]  # hours, kind, count, recipient, domain


class World:
    """Tenants that send mail, recipients that report it, and a learner."""

    def __init__(
        self, baseline: CanaryCheck, attack: Attack | None = None, *, name: str = "c"
    ) -> None:
        """name: with which those of campaigns begin."""
        self.learner, self.baseline = Learner(baseline), baseline
        self.attack, self.name = attack, name
        self.version: LearnedVersion | None = None
        self.shadow: LearnedVersion | None = None  # scores beside it, and is the next one
        self.offset, self.now_s = 0, 0.0

    def points(self, mail: Mail) -> float:
        """By the version in force."""
        if self.version:
            return self.version.points(mail.margin, mail.entries)
        return static_points(self.baseline, mail)

    def send(self, mail: Mail, tenant_id: str, random: Random) -> None:
        """A campaign, from its first message to its last complaint."""
        campaign_id = f"{self.name}{self.offset}"
        is_held = self.points(mail) >= HOLD_POINTS
        entries = pack_learned(mail.entries)
        self.apply(CampaignStarted(campaign_id, tenant_id, mail.margin, entries, (), self.now_s))
        reports = reviews(mail, random) if is_held else self.reports(mail, random)
        for hours, kind, count, address, domain in reports:
            digest, large = address.encode(), not domain.startswith("own")
            at_s = self.now_s + hours * HOUR_S
            self.apply(
                MessageOutcome("", tenant_id, campaign_id, kind, digest, domain, large, at_s, count)
            )
        self.now_s += BETWEEN_S

    def reports(self, mail: Mail, random: Random) -> Iterator[Report]:
        rate = BAD_RATE if mail.bad else GOOD_RATE
        rate *= np.exp(random.normal(-(SIGMA**2) / 2, SIGMA))
        is_attacked = self.attack and self.attack.hits(mail, random)
        for step in range(STEPS):
            yield 4 * step, OutcomeKind.DELIVERED, STEP, "", ""
            for _ in range(random.poisson(rate * STEP)):
                yield 4 * step, OutcomeKind.COMPLAINED, 1, f"{random.random()}", "large.example"
            if self.attack and is_attacked:
                for _ in range(FALSE_COMPLAINTS // STEPS):
                    yield self.attack.report(4 * step, random)

    def apply(self, fact: Fact) -> None:
        self.offset += 1
        for each in self.learner.apply([fact], self.offset):
            if isinstance(each, VersionPublished):
                self.shadow = unpack_version(each.packed, self.baseline.model)
            elif isinstance(each, VersionChanged):
                self.version = self.shadow


def reviews(mail: Mail, random: Random) -> Iterator[Report]:
    if random.random() < REVIEWED:
        is_rejected = mail.bad == (random.random() < RIGHT)
        yield 1, OutcomeKind.REVIEWED_BAD if is_rejected else OutcomeKind.REVIEWED_GOOD, 1, "", ""


def static_points(baseline: CanaryCheck, mail: Mail) -> float:
    return HOLD_POINTS + (mail.margin - baseline.hold) * baseline.points_per_margin


def run(world: World, mails: Sequence[Mail], *, seed: int) -> Scores:
    places = np.random.default_rng(seed).permutation(len(mails))
    rows = []
    for number, at in enumerate(places):
        mail, random = mails[at], np.random.default_rng((seed, number))
        rows.append((mail.bad, static_points(world.baseline, mail), world.points(mail)))
        kind = "abuser" if mail.bad else "tenant"
        world.send(mail, f"{kind}{random.integers(TENANTS // 2)}", random)
    bad, static, learned = map(np.array, zip(*rows[len(rows) // 2 :], strict=True))
    return Scores(bad, static, learned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PACKS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    mails, baseline = unseen_mail(arguments.folder), shipped_baseline()
    attacks = {
        "learns": None,
        "attack from two domains": OWN_DOMAINS,
        "attack from 40 addresses at large providers": FEW_ADDRESSES,
        "attack from any number of those": ANY_ADDRESSES,
        "the same on the good mail that looks worst": worst_chosen(mails),
    }
    print(f"{'':44}{'recall at 1 %':>14}{'AUC':>8}{'FPR':>8}")
    for name, attack in attacks.items():
        scores = run(World(baseline, attack), mails, seed=arguments.seed)
        if name == "learns":
            print(line("static", scores, scores.static))
        print(line(name, scores, scores.learned), flush=True)


def line(name: str, scores: Scores, points: Floats) -> str:
    figures = f"{scores.recall(points):14.3f}{scores.auc(points):8.4f}{scores.fpr(points):8.4f}"
    return f"{name:44}{figures}"


if __name__ == "__main__":
    main()
