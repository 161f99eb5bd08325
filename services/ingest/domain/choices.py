"""The values that a field of a request may have, from the type of the request."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

from msgspec import inspect


def choices_at(kind: object, steps: Sequence[str]) -> list[str]:
    """Empty for a field that is no enumeration. kind: of the request; None if it is not known.
    steps: from there to the field: names, and indexes."""
    found = [] if kind is None else [_described(kind)]
    for step in steps:
        found = list(chain.from_iterable(_members(one, step) for one in found))
    return [str(choice) for one in found for choice in _choices(one)]


_described = cache(inspect.type_info)


def _members(kind: inspect.Type, step: str) -> Iterator[inspect.Type]:
    """The types that a member may have."""
    for one in _alternatives(kind):
        if isinstance(one, inspect.StructType):
            yield from (field.type for field in one.fields if field.encode_name == step)
        elif isinstance(one, inspect.DictType):
            yield one.value_type
        elif isinstance(one, inspect.ListType):
            yield one.item_type


def _choices(kind: inspect.Type) -> Iterator[object]:
    for one in _alternatives(kind):
        if isinstance(one, inspect.LiteralType):
            yield from one.values


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Without the descriptions of a schema."""
    if isinstance(kind, inspect.Metadata):
        yield from _alternatives(kind.type)
    elif isinstance(kind, inspect.UnionType):
        yield from chain.from_iterable(map(_alternatives, kind.types))
    else:
        yield kind
