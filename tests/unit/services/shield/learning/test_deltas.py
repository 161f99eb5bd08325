"""Steps towards the evidence, and how far they can go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shield.domain.learning.deltas import (
    ALL_HIGH,
    ALL_LOW,
    COLUMNS,
    DECAY_CAMPAIGNS,
    ENTRY_MAX,
    VOTE_HIGH,
    VOTE_LOW,
    DeltaBounds,
    WeightDeltas,
    column_of,
)
from services.shield.domain.learning.entries import SIZE, Learned
from services.shield.domain.learning.versions import CUT_POINTS_MAX

PER_MARGIN = 2.0
BOUNDS = DeltaBounds.of(PER_MARGIN)


def entries(*numbers: int) -> Learned:
    return np.array(numbers, np.uint32)


MAIL, OTHER = entries(*range(0, 400, 4)), entries(*range(1, 400, 4))


def teach(deltas: WeightDeltas, evidence: float, *, tenants: int = 1, times: int = 1) -> None:
    for number in range(tenants * times):
        tenant_id = f"t{number % tenants}"
        deltas.train(MAIL, tenant_id=tenant_id, margin=0.0, evidence=evidence, weight=1.0)


@pytest.mark.parametrize(("evidence", "sign"), [(3.0, 1), (-3.0, -1)])
def test_a_step_goes_towards_the_evidence_for_mail_like_it(evidence: float, sign: int) -> None:
    deltas = WeightDeltas(BOUNDS)
    teach(deltas, evidence)
    half = np.concatenate([MAIL[:50], OTHER[50:]])
    assert sign * deltas.shift(MAIL) >= sign * deltas.shift(half) > 0
    assert deltas.shift(OTHER) == 0


def test_mail_that_scores_as_its_evidence_teaches_nothing() -> None:
    deltas = WeightDeltas(BOUNDS)
    for margin, evidence in ((3.0, 3.0), (-4.0, -3.0), (9.0, 99.0)):
        assert not deltas.train(MAIL, tenant_id="t", margin=margin, evidence=evidence, weight=1.0)
    assert not deltas.train(entries(), tenant_id="t", margin=0.0, evidence=3.0, weight=1.0)
    assert not deltas.table.any()


def test_a_tenant_with_less_weight_teaches_less() -> None:
    sizes = []
    for weight in (1.0, 0.1):
        deltas = WeightDeltas(BOUNDS)
        deltas.train(MAIL, tenant_id="t", margin=0.0, evidence=3.0, weight=weight)
        sizes.append(int(np.abs(deltas.table).max()))
    assert sizes[1] == pytest.approx(sizes[0] / 10, rel=0.01)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=5, unique=True),
                  st.floats(-9, 9), st.floats(-3, 3)),
        max_size=60,
    ),
    st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=5, unique=True),
)  # fmt: skip
def test_one_tenant_moves_a_score_by_a_point_at_most(
    lessons: list[tuple[list[int], float, float]], mail: list[int]
) -> None:
    deltas = WeightDeltas(BOUNDS)
    shifts = [0.0]
    for numbers, margin, evidence in lessons:
        found = entries(*sorted(numbers))
        deltas.train(found, tenant_id="t", margin=margin, evidence=evidence, weight=1.0)
        shifts += [deltas.shift(found), deltas.shift(entries(*sorted(mail)))]
    points = [each * PER_MARGIN for each in shifts]
    assert min(points) >= VOTE_LOW - 0.001
    assert max(points) <= VOTE_HIGH + 0.001
    assert VOTE_HIGH - VOTE_LOW + 2 * CUT_POINTS_MAX <= 1


def test_all_tenants_together_have_bounds_too() -> None:
    deltas = WeightDeltas(BOUNDS)
    deltas.table[MAIL] = ENTRY_MAX
    assert deltas.shift(MAIL) == ALL_HIGH
    deltas.table[MAIL] = -ENTRY_MAX
    assert deltas.shift(MAIL) * PER_MARGIN == pytest.approx(ALL_LOW)
    assert COLUMNS * VOTE_HIGH / PER_MARGIN > ALL_HIGH


def test_tenants_add_up() -> None:
    one, many = WeightDeltas(BOUNDS), WeightDeltas(BOUNDS)
    teach(one, 3.0, tenants=1, times=12)
    teach(many, 3.0, tenants=12)
    assert many.shift(MAIL) > 2 * one.shift(MAIL) > 0


def test_what_a_column_has_learned_fades_with_what_it_learns() -> None:
    deltas = WeightDeltas(BOUNDS)
    column = column_of("t")
    deltas.table[OTHER] = 1_000
    for _ in range(DECAY_CAMPAIGNS):
        deltas.train(MAIL, tenant_id="t", margin=-20.0, evidence=3.0, weight=1.0)
    assert set(deltas.table[OTHER, column].tolist()) == {995}
    assert set(np.delete(deltas.table[OTHER], column, axis=1).ravel().tolist()) == {1_000}


def test_columns_learn_apart() -> None:
    """What one tenant does changes nothing in the columns of others."""
    one, other = WeightDeltas(BOUNDS), WeightDeltas(BOUNDS)
    teach(other, 3.0, tenants=1, times=9)
    for deltas in (one, other):
        deltas.train(MAIL, tenant_id="u", margin=0.0, evidence=3.0, weight=1.0)
    assert column_of("u") != column_of("t0")
    assert (one.table[:, column_of("u")] == other.table[:, column_of("u")]).all()


def test_entries_have_an_end() -> None:
    deltas = WeightDeltas(BOUNDS)
    for _ in range(40):
        deltas.train(entries(7), tenant_id="t", margin=-9.0, evidence=3.0, weight=1.0)
    assert deltas.table.max() == ENTRY_MAX
