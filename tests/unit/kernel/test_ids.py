from datetime import timedelta
from uuid import NAMESPACE_URL, uuid5

import pytest

from kernel import clock, times
from kernel.ids import MAX, creation_time_of, lower_bound_at, uuid5_text, uuid7


def test_ids_sort_by_time_even_within_a_millisecond() -> None:
    ids = [uuid7() for _ in range(10_000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {"specified in RFC 4122"}


def test_an_id_contains_its_creation_time() -> None:
    made = uuid7()

    assert abs(creation_time_of(made) - clock.now()) < timedelta(minutes=1)
    assert (
        lower_bound_at(creation_time_of(made))
        <= made
        < lower_bound_at(creation_time_of(made) + timedelta(milliseconds=1))
    )


def test_the_greatest_id_has_a_time() -> None:
    assert creation_time_of(MAX) == times.LAST


def test_ids_keep_increasing_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = uuid7()
    monkeypatch.setattr(clock, "now_ms", lambda: 0)

    assert uuid7() > before


def test_uuid5_text_matches_the_standard_library() -> None:
    for number in range(300):  # all sixteen digits at the variant's position
        name = f"a/{number}…"
        assert uuid5_text(NAMESPACE_URL.bytes, name) == str(uuid5(NAMESPACE_URL, name))
