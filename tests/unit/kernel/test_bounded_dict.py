"""A bounded dict keeps its newest entries."""

from kernel.bounded_dict import BoundedDict


def test_the_oldest_entry_is_evicted() -> None:
    entries = BoundedDict[str, int](2)
    entries["a"], entries["b"], entries["c"] = 1, 2, 3
    assert dict(entries) == {"b": 2, "c": 3}


def test_an_entry_that_is_set_again_is_the_newest() -> None:
    entries = BoundedDict[str, int](2)
    entries["a"], entries["b"], entries["a"], entries["c"] = 1, 2, 3, 4
    assert dict(entries) == {"a": 3, "c": 4}
