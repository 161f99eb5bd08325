"""Versions of what was learned, their cut points and their canaries."""

from dataclasses import replace

import numpy as np
import pytest

from services.shield.domain.learning.canaries import CanaryMessages, canary_arrays, read_canaries
from services.shield.domain.learning.deltas import DeltaBounds, WeightDeltas
from services.shield.domain.learning.versions import (
    CUT_POINTS_MAX,
    CanaryCheck,
    LearnedVersionError,
    pack_version,
    propose,
    unpack_version,
)
from services.shield.domain.model.file import ModelError, pack_model
from tests.unit.services.shield.learning.facts import baseline, made
from tests.unit.services.shield.samples import packed_model, scorer


def taught(*, bad: bool = True) -> WeightDeltas:
    """From all made mail of a class, taken for abuse."""
    deltas = WeightDeltas(DeltaBounds.of(baseline().points_per_margin))
    for number, (is_bad, margin, entries) in enumerate(made()):
        if is_bad is bad:
            deltas.train(
                entries, tenant_id=f"t{number}", margin=margin - 6, evidence=3.0, weight=1.0
            )
    return deltas


def test_nothing_learned_changes_no_score() -> None:
    version, check = propose(baseline(), WeightDeltas(DeltaBounds.of(baseline().points_per_margin)))
    model = scorer().model
    for _, margin, entries in made():
        assert version.points(margin, entries) == model.points(margin)
    assert (version.hold, version.block) == pytest.approx((model.hold, model.block))
    assert baseline().is_as_good(check)


def test_a_version_survives_being_stored() -> None:
    version, _ = propose(baseline(), taught())
    found = unpack_version(pack_version(version), baseline().model)
    assert found.version == version.version
    for _, margin, entries in made():
        assert found.points(margin, entries) == version.points(margin, entries)
    assert pack_version(version) == pack_version(propose(baseline(), taught())[0])


def test_a_published_version_scores_as_the_learner_does() -> None:
    deltas = taught()
    version, _ = propose(baseline(), deltas)
    for _, margin, entries in made():
        above = margin + deltas.shift(entries) - version.hold
        exact = min(20, 5 + above * version.points_per_margin)
        assert version.points(margin, entries) == pytest.approx(exact, abs=0.2)


def test_other_bytes_are_refused() -> None:
    packed = pack_version(propose(baseline(), taught())[0])
    flipped = packed[:90] + bytes([packed[90] ^ 1]) + packed[91:]
    for damaged in (b"", packed[:-1], b"x" + packed, flipped):
        with pytest.raises(LearnedVersionError):
            unpack_version(damaged, baseline().model)
    with pytest.raises(LearnedVersionError, match="another model"):
        unpack_version(packed, "2-00000000")


def test_the_cut_point_keeps_the_share_of_good_mail_above_it() -> None:
    found = baseline()
    margins = found.canaries.margins
    assert found.cut(margins) == found.hold
    assert found.cut(margins - 0.02) == pytest.approx(found.hold - 0.02)
    most = CUT_POINTS_MAX / found.points_per_margin
    assert found.cut(margins + 9) == pytest.approx(found.hold + most)


def test_a_version_that_finds_less_abuse_is_not_as_good() -> None:
    found = baseline()
    mixed = np.where(found.canaries.bad, found.canaries.margins - 6, found.canaries.margins)
    assert not found.is_as_good(found.check(mixed, found.hold))
    raised = np.where(found.canaries.bad, 99.0, found.canaries.margins + 6)
    assert not found.is_as_good(found.check(raised, found.hold))


def test_canaries_are_in_the_model_file() -> None:
    found = read_canaries(packed_model())
    assert len(found.entries) == len(found.margins) == len(found.bad) > 300
    check = baseline().check(found.margins, baseline().hold)
    assert check.auc > 0.99
    assert check.fpr < 0.02


def test_a_model_without_canaries_learns_nothing() -> None:
    model = replace(scorer().model, version="t")
    with pytest.raises(ModelError, match="canaries"):
        read_canaries(pack_model(model))
    good = CanaryMessages([made()[0][2]], np.array([0.0]), np.array([False]))
    with pytest.raises(ModelError, match="canaries"):
        read_canaries(pack_model(model, canary_arrays(good)))


def test_canaries_are_of_one_model() -> None:
    assert (
        CanaryCheck.of(scorer().model, read_canaries(packed_model())).model
        == scorer().model.version
    )
