"""`make bench-shield`: how well and how fast shield tells abuse from good mail.

Scores packs of labelled mail (see `bench.shield_corpus`) as the service does, and writes

    {"auc", "recall_at_1_fpr", "fpr_at_95_recall", "ms": {"p50", "p99"}, "by_sub": {…},
     "at_default": {"held_bad", "held_good"}, "messages", "model_version"}

Shares are between 0 and 1, null where a class is missing; ms is CPU time of one message. Of a pack
with a test split only that is scored, because the model was trained on the rest; --split all scores
everything.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.shield_corpus import Sample, read_pack
from bench.shield_model.__main__ import PACKS, SHIELD
from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from services.shield.domain.model.file import load_model
from services.shield.domain.rulebook import parse_rulebook
from services.shield.domain.scoring import Scorer
from services.shield.domain.screening import encode_request, screen

Floats = npt.NDArray[np.float64]
WARM_UP = 50  # messages scored before the clock counts


@dataclass(frozen=True, slots=True)
class Scored:
    sub: str
    bad: bool
    score: float
    held: bool  # or blocked
    ms: float


def shipped_scorer() -> Scorer:
    rules = parse_rulebook((SHIELD / "rules.toml").read_text())
    return Scorer(rules, load_model((SHIELD / "shield.model").read_bytes()))


def chosen(path: Path, split: str) -> list[Sample]:
    """The test split of a pack, or all of it if it has none."""
    samples = list(read_pack(path))
    tests = [each for each in samples if each.split == "test"]
    return samples if split == "all" or not tests else tests


def score_all(scorer: Scorer, samples: Sequence[Sample]) -> Iterator[Scored]:
    for sample in samples[:WARM_UP]:
        score(scorer, sample)
    for sample in samples:
        yield score(scorer, sample)


def score(scorer: Scorer, sample: Sample) -> Scored:
    request = encode_request(sample.content.SerializeToString(), scorer.book.thresholds)
    began = time.process_time()
    [encoded] = screen(scorer, [request])
    ms = 1000 * (time.process_time() - began)
    response = ScoreResponse.FromString(encoded)
    held = response.verdict != Verdict.VERDICT_PASS
    return Scored(sample.sub, sample.bad, response.score, held, ms)


def report(scored: Sequence[Scored]) -> dict[str, Any]:
    times = [each.ms for each in scored]
    bad, good = of_class(scored, bad=True), of_class(scored, bad=False)
    level = level_at_recall(points(bad), 0.95)
    both = bool(bad and good)
    figures: dict[str, Any] = {
        "messages": {"bad": len(bad), "good": len(good)},
        "auc": rounded(auc(points(bad), points(good))) if both else None,
        "recall_at_1_fpr": rounded(recall_at_fpr(points(bad), points(good), 0.01))
        if both
        else None,
        "fpr_at_95_recall": rounded(np.mean(points(good) >= level)) if both else None,
    }
    return figures | {
        "at_default": {"held_bad": share_held(bad), "held_good": share_held(good)},
        "ms": {f"p{q}": rounded(np.percentile(times, q)) for q in (50, 99)},
        "by_sub": {
            sub: figures_of([each for each in scored if each.sub == sub], level)
            for sub in sorted({each.sub for each in scored})
        },
    }


def figures_of(scored: Sequence[Scored], level: float) -> dict[str, Any]:
    """Of one source. level: the score that 95 % of all bad mail reaches."""
    bad, good = of_class(scored, bad=True), of_class(scored, bad=False)
    figures: dict[str, Any] = {"bad": len(bad), "good": len(good)}
    if bad:
        figures["held_bad"] = share_held(bad)
    if good:
        figures["held_good"] = share_held(good)
        figures["fpr_at_95_recall"] = rounded(np.mean(points(good) >= level))
    if bad and good:
        figures["auc"] = rounded(auc(points(bad), points(good)))
    return figures


def of_class(scored: Iterable[Scored], *, bad: bool) -> list[Scored]:
    return [each for each in scored if each.bad is bad]


def points(scored: Sequence[Scored]) -> Floats:
    return np.array([each.score for each in scored])


def share_held(scored: Sequence[Scored]) -> float | None:
    return rounded(np.mean([each.held for each in scored])) if scored else None


def rounded(value: float | np.floating) -> float:
    return round(float(value), 4)


def auc(bad: Floats, good: Floats) -> float:
    """How often a bad message scores above a good one; equal scores count half."""
    ordered = np.sort(good)
    below = np.searchsorted(ordered, bad, "left") + np.searchsorted(ordered, bad, "right")
    return float(below.mean()) / 2 / len(good)


def recall_at_fpr(bad: Floats, good: Floats, fpr: float) -> float:
    """The share of bad mail above what at most this share of good mail exceeds."""
    ordered = np.sort(good)[::-1]
    return float(np.mean(bad > ordered[int(fpr * len(good))]))


def level_at_recall(bad: Floats, recall: float) -> float:
    return float(np.quantile(bad, 1 - recall, method="lower")) if len(bad) else float("inf")


def lines(figures: dict[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield f"{name}:"
            yield from (f"    {key:44}{each}" for key, each in value.items())
        else:
            yield f"{name:48}{value}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, nargs="+", metavar="FILE.jsonl.zst")
    parser.add_argument("--split", choices=["test", "all"], default="test")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    paths = arguments.corpus or sorted(PACKS.glob("*.jsonl.zst"))
    scorer = shipped_scorer()
    samples = [each for path in paths for each in chosen(path, arguments.split)]
    if not samples:
        parser.error("no ham, spam or phish: name packs with --corpus")
    figures = report(list(score_all(scorer, samples)))
    figures["model_version"] = scorer.model.version
    print("\n".join(lines(figures)))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
