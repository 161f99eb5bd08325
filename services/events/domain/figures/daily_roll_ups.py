"""What a message adds to the roll-ups of the day of its acceptance, for comparison with them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.events.domain.figures.counting import (
    EventDimensions,
    FactsChange,
    Measure,
    MessageDimensions,
    count,
    sender_of,
)
from services.events.domain.figures.definitions import CUBES, CubeId
from services.events.domain.figures.facts import MessageFacts

Admit = Callable[[str, CubeId, str], str]
"""From a tenant, a cube and a value of it: the value, or that of those beyond the maximum."""


class DailyRollUpRow(NamedTuple):
    """A row of a roll-up by day, on the axis of acceptance; in a cube with times, a bucket."""

    tenant_id: str
    cube: CubeId
    dimensions: tuple[str, ...]
    measure: Measure


Sums = dict[DailyRollUpRow, int]


def add_message(
    sums: Sums, tenant_id: str, message_id: str, *, facts: MessageFacts, admit: Admit
) -> None:
    """Add what a message counts to the sums of its day."""
    sender = sender_of(FactsChange(tenant_id, message_id, None, facts), facts)
    for cell, numbers in count(facts).items():
        for cube in CUBES:
            for dimensions in _dimensions_of(cube.id, sender, cell, admit=admit):
                for measure, number in numbers.items():
                    if isinstance(measure, str) or cube.timed:
                        sums[DailyRollUpRow(tenant_id, cube.id, dimensions, measure)] += number


def new_sums() -> Sums:
    return defaultdict(int)


def _dimensions_of(
    cube: CubeId, sender: MessageDimensions, cell: EventDimensions, *, admit: Admit
) -> Iterator[tuple[str, ...]]:
    tenant_id, place = sender.tenant_id, cell.place
    site = admit(tenant_id, CubeId.SITE, place.site)
    domain = admit(tenant_id, CubeId.RECIPIENT_DOMAIN, sender.recipient_domain)
    if cube == CubeId.TAG:
        for tag in sender.tags or ("",):
            yield (admit(tenant_id, CubeId.TAG, tag),)
        return
    yield {
        CubeId.SENDER: (sender.domain_id, sender.stream, sender.key_id),
        CubeId.SITE: (site,),
        CubeId.IP: (place.egress_id, site),
        CubeId.BOUNCE_CLASS: (cell.bounce_class,),
        CubeId.RECIPIENT_DOMAIN: (domain,),
    }[cube]
