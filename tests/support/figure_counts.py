"""What figures must be, counted from lives of messages without the engine's code."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from tests.support.figures import Life, Mark

VALUES: dict[str, Callable[[Life, Mark], list[str]]] = {
    "tenant": lambda life, _: [life.tenant_id],
    "domain": lambda life, _: [life.domain_id],
    "key": lambda life, _: [life.key_id],
    "stream": lambda life, _: [life.stream],
    "recipient_domain": lambda life, _: [life.recipient.lower().rpartition("@")[2]],
    "tag": lambda life, _: [f"{name}:{value}" for name, value in life.tags.items()] or [""],
    "ip": lambda _, mark: [mark.place[0]],
    "site": lambda _, mark: [mark.place[1]],
    "bounce_class": lambda _, mark: [mark.bounce_class],
}
Counted = dict[tuple[str, ...], dict[str, int]]


def count(
    some: Iterable[Life],
    dimensions: Sequence[str],
    *,
    by: str = "event",
    label: Callable[[datetime], str] = str,
    include: Callable[[Life, Mark], bool] = lambda _life, _mark: True,
) -> Counted:
    """The counters by the values of dimensions. label: name of the period of a time."""
    found: Counted = defaultdict(lambda: defaultdict(int))
    for life in some:
        if life.test:
            continue
        for mark in life.marks:
            at = mark.at if by == "event" else life.accepted_at
            if not include(life, mark):
                continue
            keys: list[tuple[str, ...]] = [()]
            for one in dimensions:
                values = [label(at)] if one == "period" else VALUES[one](life, mark)
                keys = [(*key, value) for key in keys for value in values]
            for key in keys:
                found[key][mark.metric] += mark.number
    return {key: dict(counts) for key, counts in found.items()}
