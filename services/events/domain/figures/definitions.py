"""What each figure is. The documentation, the API, the tables and the code take it from here.

The unit is the message: one email to one recipient. Test mail is never counted.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple


class CounterMetric(NamedTuple):
    """A number of messages, events or bytes. time: of the event in which it is counted."""

    name: str
    meaning: str
    time: str


class RateMetric(NamedTuple):
    """numerator, denominator: counters. Nothing where the denominator is 0."""

    name: str
    numerator: str
    denominator: str


class PercentileMetric(NamedTuple):
    """In seconds. timing: whose histogram."""

    name: str
    timing: str
    share: float


# Each is a column of the roll-ups.
COUNTERS = tuple(
    CounterMetric(*one)
    for one in (
        ("accepted", "messages that were accepted", "of the acceptance"),
        ("bytes", "octets of the content of accepted messages", "of the acceptance"),
        ("held", "messages that were held for review", "of the acceptance"),
        ("would_hold", "passed; the shadow model would hold or block them", "of the acceptance"),
        ("would_pass", "held or blocked; the shadow model would pass them", "of the acceptance"),
        ("sent", "messages that were assigned to an IP for delivery", "of the first assignment"),
        ("delivered", "messages that the receiving server accepted", "of the close"),
        ("delivered_first", "delivered without an earlier temporary refusal", "of the close"),
        ("delivered_later", "delivered after a temporary refusal", "of the close"),
        ("bounced", "messages refused for good, at once or by a later bounce", "of that refusal"),
        ("bounced_permanent", "bounced; the recipient cannot be reached", "as bounced"),
        ("bounced_transient", "bounced; a later message may arrive", "as bounced"),
        ("bounced_undetermined", "bounced; the reply does not say why", "as bounced"),
        ("bounced_async", "bounced by mail after the delivery", "of the bounce"),
        ("delivery_delayed", "messages with a temporary refusal", "of the first refusal"),
        ("deferrals", "temporary refusals by receiving servers", "of each refusal"),
        ("suppressed", "messages to suppressed addresses", "of the close"),
        ("failed", "messages that ended without an answer of a receiving server", "of the close"),
        ("blocked", "failed; refused by the content check", "of the close"),
        ("canceled", "messages that were canceled", "of the close"),
        ("complained", "messages that the recipient reported as spam", "of the report"),
        ("unsubscribed", "messages whose recipient unsubscribed", "of the first time"),
        ("opened", "opens", "of each open"),
        ("unique_opened", "messages that were opened", "of the first open"),
        ("clicked", "clicks", "of each click"),
        ("unique_clicked", "messages of which a link was clicked", "of the first click"),
        ("confirmed_opened", "messages that were opened or clicked", "of the first of both"),
        ("machine_opened", "opens that are certainly a machine's", "of each open"),
        ("machine_unique_opened", "messages that only machines opened", "of the first open"),
        ("machine_clicked", "clicks that are certainly a machine's", "of each click"),
        ("machine_unique_clicked", "messages that only machines clicked", "of the first click"),
    )
)  # fmt: skip
COUNTER_NAMES = tuple(one.name for one in COUNTERS)

RATES = (
    RateMetric("delivery_rate", "delivered", "sent"),
    RateMetric("bounce_rate", "bounced", "sent"),
    RateMetric("complaint_rate", "complained", "delivered"),
    RateMetric("unsubscribe_rate", "unsubscribed", "delivered"),
    RateMetric("open_rate", "unique_opened", "delivered"),
    RateMetric("click_rate", "unique_clicked", "delivered"),
)


class TimedSpan(IntEnum):
    """Whose histogram. Stored in the database, so a number never changes."""

    FIRST_ATTEMPT = 1
    DELIVERY = 2


TIMINGS = {
    "time_to_first_attempt": TimedSpan.FIRST_ATTEMPT,
    "time_to_delivery": TimedSpan.DELIVERY,
}
PERCENTILES = tuple(
    PercentileMetric(f"{timing}_p{percent}_s", timing, percent / 100)
    for timing in TIMINGS
    for percent in (50, 90, 95, 99)
)
RECEIVED = "received"  # Resend's name for incoming mail, which has no figures here: always 0
NET = "inboxed_net"  # delivered without bounced_async

# With include_machine each counts machines too: the sum of both.
WITH_MACHINES: Mapping[str, str] = MappingProxyType(
    {
        "opened": "machine_opened",
        "unique_opened": "machine_unique_opened",
        "clicked": "machine_clicked",
        "unique_clicked": "machine_unique_clicked",
    }
)
METRICS = (
    RECEIVED,
    *COUNTER_NAMES,
    NET,
    *(one.name for one in RATES),
    *(one.name for one in PERCENTILES),
)
DEFAULT_METRICS = tuple(name for name in METRICS if not name.startswith(("time_to_", "would_")))


class CubeId(IntEnum):
    """Stored in the database, so a number never changes."""

    SENDER = 1
    SITE = 2
    IP = 3
    TAG = 4
    BOUNCE_CLASS = 5
    RECIPIENT_DOMAIN = 6


class RollUpCube(NamedTuple):
    """Dimensions that are counted together, so that they can be combined. hourly: also by hour.
    timed: with histograms."""

    id: CubeId
    dimensions: tuple[str, ...]
    hourly: bool = True
    timed: bool = True


CUBES = (
    RollUpCube(CubeId.SENDER, ("domain", "stream", "key")),
    RollUpCube(CubeId.SITE, ("site",)),
    RollUpCube(CubeId.IP, ("ip", "site")),
    RollUpCube(CubeId.TAG, ("tag",), hourly=False, timed=False),
    RollUpCube(CubeId.BOUNCE_CLASS, ("bounce_class",), hourly=False, timed=False),
    RollUpCube(CubeId.RECIPIENT_DOMAIN, ("recipient_domain",), hourly=False, timed=False),
)
PERIOD, TENANT, EMAIL = "period", "tenant", "email"
# Not counted, but added up from the sources that are in a pool now.
POOL, IP = "pool", "ip"
# The names of values in responses and of filters, where they differ from that of the dimension.
KEYS: Mapping[str, str] = MappingProxyType(
    {one: f"{one}_id" for one in (TENANT, EMAIL, POOL, "domain", "key", IP)}
)
DIMENSIONS = (
    PERIOD,
    TENANT,
    EMAIL,
    *dict.fromkeys(name for cube in CUBES for name in cube.dimensions),
    POOL,
)
# Of a tenant and a day so many values have rows of their own; the next ones are one, OTHER.
VALUES_MAX = 1_000
OTHER = "other"


class TimeAxis(IntEnum):
    """The time by which is counted. Stored in the database, so a number never changes."""

    EVENT = 0
    SENT = 1


AXES = {"event": TimeAxis.EVENT, "sent": TimeAxis.SENT}
HOURS_KEPT_DAYS = 35
DAYS_KEPT_DAYS = 760  # 25 months


def cube_of(dimensions: frozenset[str]) -> RollUpCube | None:
    """The first cube with all these dimensions."""
    counted = (dimensions - {POOL}) | ({IP} if POOL in dimensions else set())
    return next((cube for cube in CUBES if counted <= frozenset(cube.dimensions)), None)
