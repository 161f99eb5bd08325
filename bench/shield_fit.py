"""`python -m bench.shield_fit FOLDER [--write]`: fit the scores in rules.toml to labelled mail.

Logistic regression over the rules that match, on the training split only. Three measures prevent
overfitting. Good mail is accompanied by copies as an API client would send them: HTML without its
text part, without the fields that a mail program adds, from another domain than its links;
otherwise these would indicate spam, as they do in a corpus whose good mail is twenty years old. No
single rule may hold a message: each kind of rule has a maximum score. And `pinned` scores are not
fit_scores.

Prints the results of the scores by file and split; with --write saves the scores.
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
from services.shield.domain.rulebook import MetaRule, Rule, Rulebook, TextRule, parse_rulebook
from services.shield.domain.scoring import Scorer

RULES = Path(__file__).parents[1] / "services/shield/rules.toml"
Floats = npt.NDArray[np.float64]

CAPS = {TextRule: 2.4, MetaRule: 1.8}  # maximum scores; any two text rules together stay below hold
MEASURE_CAP = 1.2
CREDIT = -1.5
POINTS_PER_LOGIT = 0.8
RIDGE = 2.0
GOOD_WEIGHT = 2.0
MODERN_WEIGHT = 6.0  # they are few, but typical of customers
PHISH_WEIGHT = 4.0
COPY_WEIGHT = 0.5
STEPS = 600
FALSE_SHARE = 0.005  # share of good training mail that may be held: half of what is allowed
MODERN = ("modern_newsletters", "templates_ham")


@dataclass(frozen=True, slots=True)
class Table:
    """One row per message: the rules that match, its label and weight."""

    fired: Floats
    bad: npt.NDArray[np.bool_]
    weight: Floats


def copies(sample: Sample) -> Iterator[Sample]:
    """A good message as other clients would have sent it."""
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
        names = scorer.matched_rules(extract_features(sample.content, scorer.book.limits))
        row[[column[name] for name in names]] = 1
        fired.append(row)
        bad.append(sample.bad)
        weights.append(weight(sample, copy=copy))
    return Table(np.array(fired), np.array(bad), np.array(weights))


def bounds(rules: Sequence[Rule]) -> tuple[Floats, Floats]:
    """Minimum and maximum of each score; a pinned score has no range."""
    low, high = np.zeros(len(rules)), np.zeros(len(rules))
    for number, rule in enumerate(rules):
        cap = CAPS.get(type(rule), MEASURE_CAP)
        low[number] = CREDIT if rule.score < 0 else 0.0
        high[number] = 0.0 if rule.score < 0 else cap
        if rule.pinned:
            low[number] = high[number] = min(rule.score, 20.0)
    return low, high


def fit_scores(data: Table, rules: Sequence[Rule], middle: float) -> Floats:
    """Scores with which a message of `middle` points is equally likely good or bad.

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
    """The scores with which FALSE_SHARE of the good messages are held."""
    low, high = 0.5, 2 * book.thresholds.hold
    points = np.zeros(len(book.rules))
    good = ~data.bad
    for _ in range(9):
        middle = (low + high) / 2
        points = fit_scores(data, book.rules, middle)
        share = np.average(data.fired[good] @ points >= book.thresholds.hold)
        low, high = (middle, high) if share < FALSE_SHARE else (low, middle)
    return points


def with_scores(toml: str, scores: dict[str, float]) -> str:
    """The file with these scores; comments and order are unchanged."""
    for name, score in scores.items():
        pattern = rf'(name = "{re.escape(name)}"\nscore = )[-0-9.]+'
        toml = re.sub(pattern, rf"\g<1>{score}", toml)
    return toml


def report(scorer: Scorer, everything: Sequence[Sample]) -> list[str]:
    """Held and blocked messages in percent, by file, label and split."""
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
    parser.add_argument("--write", action="store_true", help="save the scores in rules.toml")
    parser.add_argument(
        "--report", action="store_true", help="only report the results of the current scores"
    )
    arguments = parser.parse_args()
    book = parse_rulebook(RULES.read_text())
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
    toml = with_scores(RULES.read_text(), scores)
    if write:
        RULES.write_text(toml)
    return parse_rulebook(toml)  # raises for rules that have become unused


if __name__ == "__main__":
    main()
