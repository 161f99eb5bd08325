"""`python -m bench.shield_fit FOLDER [--write]`: fit the scores in rules.toml on labelled mail.

Logistic regression over which rules fired, on the training split alone. Three things keep it
honest. Good mail stands beside copies of itself as an API client would post it: HTML without its
text part, without the fields that a mail program adds, from another domain than its links; else
those would mean spam, as they do in a corpus whose good mail is twenty years old. No rule may hold
a message by itself: each kind of rule has a cap. And what is `pinned` stays as it was set by hand.

Prints what the scores then catch and cost, by file and split; with --write puts them in place.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.shield_corpus import EVALUATION_ONLY, Sample, samples
from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.features import extract_features
from services.shield.domain.rulebook import MetaRule, Rule, Rulebook, TextRule, parse
from services.shield.domain.scoring import Scorer

RULES = Path(__file__).parents[1] / "services/shield/rules.toml"
Floats = npt.NDArray[np.float64]

CAPS = {TextRule: 2.4, MetaRule: 1.8}  # points; any two text rules alone stay below hold
MEASURE_CAP = 1.2
CREDIT = -1.5
POINTS_PER_LOGIT = 0.8
RIDGE = 2.0
GOOD_WEIGHT = 2.0
MODERN_WEIGHT = 6.0  # there are few of them, and they are what customers send
PHISH_WEIGHT = 4.0
COPY_WEIGHT = 0.5
STEPS = 600
FALSE_SHARE = 0.005  # of the good mail of the training split: half of what is allowed
MODERN = ("modern_newsletters", "templates_ham")


@dataclass(frozen=True, slots=True)
class Table:
    """One row per message: which rules fired, and what it is."""

    fired: Floats
    bad: npt.NDArray[np.bool_]
    weight: Floats


def copies(sample: Sample) -> Iterator[Sample]:
    """A good message as other clients would have posted it."""
    if sample.bad:
        return
    if sample.file in MODERN:
        moved = Content()
        moved.CopyFrom(sample.content)
        setattr(moved, "from", "Service <hello@mailer.example>")
        yield replace(sample, content=moved)
    if sample.content.headers or sample.content.reply_to:
        bare = Content()
        bare.CopyFrom(sample.content)
        del bare.headers[:]
        del bare.reply_to[:]
        yield replace(sample, content=bare)
    if sample.content.html and sample.content.text:
        page = Content()
        page.CopyFrom(sample.content)
        page.text = ""
        del page.headers[:]
        yield replace(sample, content=page)


def weight(sample: Sample, *, copy: bool) -> float:
    value = 1.0 if sample.bad else GOOD_WEIGHT
    if sample.file in MODERN:
        value *= MODERN_WEIGHT
    if sample.label == "phish":
        value *= PHISH_WEIGHT
    return value * (COPY_WEIGHT if copy else 1.0)


def table(scorer: Scorer, rows: Iterable[tuple[Sample, bool]]) -> Table:
    column = {rule.name: number for number, rule in enumerate(scorer.book.rules)}
    fired, bad, weights = [], [], []
    for sample, copy in rows:
        row = np.zeros(len(column))
        names = scorer.findings(extract_features(sample.content, scorer.book.limits))
        row[[column[name] for name in names]] = 1
        fired.append(row)
        bad.append(sample.bad)
        weights.append(weight(sample, copy=copy))
    return Table(np.array(fired), np.array(bad), np.array(weights))


def bounds(rules: Sequence[Rule]) -> tuple[Floats, Floats]:
    """Between which points each score may lie; a pinned one is not fitted."""
    low, high = np.zeros(len(rules)), np.zeros(len(rules))
    for number, rule in enumerate(rules):
        cap = CAPS.get(type(rule), MEASURE_CAP)
        low[number] = CREDIT if rule.score < 0 else 0.0
        high[number] = 0.0 if rule.score < 0 else cap
        if rule.pinned:
            low[number] = high[number] = min(rule.score, 20.0)
    return low, high


def fitted(data: Table, rules: Sequence[Rule], middle: float) -> Floats:
    """Points per rule, so that a message with `middle` points is as likely bad as good.

    Projected gradient with Nesterov's momentum: the problem is convex and small.
    """
    low, high = bounds(rules)
    scale = (data.weight @ (data.fired**2).sum(1)) / 4 / POINTS_PER_LOGIT**2
    step = 8.0 / scale
    points = momentum = (low + high) / 2
    for turn in range(STEPS):
        logit = (data.fired @ momentum - middle) / POINTS_PER_LOGIT
        error = data.weight * (1 / (1 + np.exp(-np.clip(logit, -30, 30))) - data.bad)
        slope = data.fired.T @ error / POINTS_PER_LOGIT + RIDGE * momentum
        moved = np.clip(momentum - step * slope, low, high)
        momentum = moved + turn / (turn + 3) * (moved - points)
        points = moved
    return points


def search(data: Table, book: Rulebook) -> Floats:
    """The points with which FALSE_SHARE of the good messages reach hold."""
    low, high = 0.5, 2 * book.thresholds.hold
    points = np.zeros(len(book.rules))
    good = ~data.bad
    for _ in range(9):
        middle = (low + high) / 2
        points = fitted(data, book.rules, middle)
        share = np.average(data.fired[good] @ points >= book.thresholds.hold)
        low, high = (middle, high) if share < FALSE_SHARE else (low, middle)
    return points


def written(toml: str, scores: dict[str, float]) -> str:
    """The same file with these scores; comments and order stay."""
    for name, score in scores.items():
        pattern = rf'(name = "{re.escape(name)}"\nscore = )[-0-9.]+'
        toml = re.sub(pattern, rf"\g<1>{score}", toml)
    return toml


def report(scorer: Scorer, everything: Sequence[Sample]) -> list[str]:
    """held and blocked, in per cent, by file, label and split."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for sample in everything:
        score = scorer.score(sample.content).score
        for file in (sample.file, "all" if EVALUATION_ONLY not in sample.file else "-"):
            for split in {sample.split, "whole"}:
                groups.setdefault((file, sample.label, split), []).append(score)
    limits = scorer.book.thresholds
    return [
        f"{file:24}{label:6}{split:6}{len(scores):6}  held or blocked "
        f"{100 * np.mean(np.array(scores) >= limits.hold):6.2f} %  blocked "
        f"{100 * np.mean(np.array(scores) >= limits.block):6.2f} %"
        for (file, label, split), scores in sorted(groups.items())
        if file != "-"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="put the scores into rules.toml")
    parser.add_argument("--report", action="store_true", help="only say what today's scores do")
    arguments = parser.parse_args()
    book = parse(RULES.read_text())
    everything = list(samples(arguments.folder))
    if not arguments.report:
        book = fit(book, everything, write=arguments.write)
    print("\n".join(report(Scorer(book), everything)))


def fit(book: Rulebook, everything: Sequence[Sample], *, write: bool) -> Rulebook:
    train = [s for s in everything if s.split == "train" and EVALUATION_ONLY not in s.file]
    rows = [(s, False) for s in train] + [(copy, True) for s in train for copy in copies(s)]
    points = search(table(Scorer(book), rows), book)
    scores = {
        rule.name: round(float(score), 2)
        for rule, score in zip(book.rules, points, strict=True)
        if not rule.pinned
    }
    for name, score in sorted(scores.items(), key=lambda each: -each[1]):
        print(f"{name:28}{score:6.2f}")
    toml = written(RULES.read_text(), scores)
    if write:
        RULES.write_text(toml)
    return parse(toml)  # names the rules that turned out to be idle


if __name__ == "__main__":
    main()
