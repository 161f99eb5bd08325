"""The figures of `make bench-shield`."""

import numpy as np
import pytest

from bench.shield import Scored, auc, level_at_recall, recall_at_fpr, report


def test_auc_counts_pairs_and_ties_half() -> None:
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)


def test_recall_at_a_false_positive_rate_exceeds_what_good_mail_reaches() -> None:
    good = np.arange(100.0)
    assert recall_at_fpr(np.array([97.0, 98.5, 99.0, 100.0]), good, 0.01) == 0.75
    assert recall_at_fpr(np.array([1.0, 99.0]), good[:10], 0.01) == 0.5


def test_95_percent_of_the_bad_mail_reaches_the_level_of_that_recall() -> None:
    bad = np.arange(100.0)
    assert np.mean(bad >= level_at_recall(bad, 0.95)) >= 0.95


def test_a_report_of_a_pack_with_one_class_has_no_curves() -> None:
    scored = [Scored("a", True, 7.0, True, 1.0), Scored("b", True, 1.0, False, 2.0)]
    figures = report(scored)
    curves = ("auc", "recall_at_1_fpr", "fpr_at_95_recall")
    assert [figures[name] for name in curves] == [None] * 3
    assert figures["at_default"] == {"held_bad": 0.5, "held_good": None}
    assert figures["ms"] == {"p50": 1.5, "p99": pytest.approx(1.99)}


def test_each_part_has_its_own_figures() -> None:
    scored = [Scored("a", True, 7.0, True, 1.0), Scored("a", False, 8.0, True, 1.0)]
    part = {"bad": 1, "good": 1, "held_bad": 1.0, "held_good": 1.0}
    assert report(scored)["by_sub"] == {"a": {**part, "fpr_at_95_recall": 1.0, "auc": 0.0}}
