"""The figures of shield on labelled mail that it was not trained on, as in `make bench-shield`.

Reads the test split of ../shared/data/mail beside the repository. Skipped if it is absent; with
CI=1 that is a failure. The split has the sources of the training split, so strangers' mail has
worse figures: docs/shield.md.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import bench
from bench.shield import Scored, chosen, report, score_all
from bench.shield_corpus import EVALUATION_ONLY
from bench.shield_model.origin import digest_of_packs, read_origin
from tests.unit.services.shield.samples import packed_model, scorer

FOLDER = Path(bench.__file__).parents[2] / "shared/data/mail"
PACKS = (
    "enron_raw",
    "spamassassin",
    "nazario",
    "phish_templates",
    "modern_newsletters",
    "templates_ham",
    "modern_inbox",
)
MODERN = ("modern_newsletters", "templates_ham", "modern_inbox")
Packs = dict[str, list[Scored]]


@pytest.fixture(scope="module")
def folder() -> Path:
    if not FOLDER.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{FOLDER} is absent: CI needs the labelled mail")
        pytest.skip(f"left out: {FOLDER} is absent")
    return FOLDER


@pytest.fixture(scope="module")
def packs(folder: Path) -> Packs:
    names = [*PACKS, "phishing_pot_le2024"]
    paths = {name: folder / f"{name}.jsonl.zst" for name in names}
    return {name: list(score_all(scorer(), chosen(path, "test"))) for name, path in paths.items()}


def together(packs: Packs, names: Sequence[str]) -> list[Scored]:
    return [each for name in names for each in packs[name]]


def held_good(scored: Sequence[Scored]) -> float:
    good = [each.held for each in scored if not each.bad]
    return sum(good) / len(good)


def test_abuse_is_distinguished_from_good_mail(packs: Packs) -> None:
    figures = report(together(packs, PACKS))
    assert figures["auc"] >= 0.985
    assert figures["recall_at_1_fpr"] >= 0.8
    assert figures["fpr_at_95_recall"] <= 0.05


def test_modern_good_mail_is_not_taken_for_abuse(packs: Packs) -> None:
    bad = [each for each in together(packs, PACKS) if each.bad]
    good = [each for each in together(packs, MODERN) if not each.bad]
    assert report([*bad, *good])["fpr_at_95_recall"] <= 0.05


def test_phishing_of_years_that_were_not_trained_on_is_found(packs: Packs) -> None:
    assert EVALUATION_ONLY in "phishing_pot_le2024"
    good = [each for each in together(packs, PACKS) if not each.bad]
    assert report([*packs["phishing_pot_le2024"], *good])["recall_at_1_fpr"] >= 0.7


@pytest.mark.parametrize("name", MODERN)
def test_at_most_one_percent_of_good_modern_mail_is_held(packs: Packs, name: str) -> None:
    assert held_good(packs[name]) <= 0.01


def test_at_most_one_percent_of_good_mail_is_held(packs: Packs) -> None:
    assert held_good(together(packs, PACKS)) <= 0.01


def test_most_spam_and_phish_is_held(packs: Packs) -> None:
    bad = [each.held for each in together(packs, PACKS) if each.bad]
    assert sum(bad) / len(bad) >= 0.75


def test_the_shipped_model_was_trained_on_these_packs(folder: Path) -> None:
    assert read_origin(packed_model())["packs"] == digest_of_packs(folder)
