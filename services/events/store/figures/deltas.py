"""The changes of figures that a batch of the log appends, in the statement that writes the log."""

from collections.abc import Sequence

import msgspec

from services.events.domain.figures.counting import FigureDelta, row_of
from services.events.domain.figures.definitions import COUNTER_NAMES, TimedSpan

KEYS = (
    "tenant_id", "cohort", "hour", "domain_id", "stream", "key_id", "recipient_domain", "tags",
    "egress_id", "site", "bounce_class",
)  # fmt: skip
TIMINGS = tuple(timing.name.lower() for timing in TimedSpan)
COLUMNS = ", ".join((*KEYS, *TIMINGS, *COUNTER_NAMES))
# As JSON, because most of the many counters of a row do not change.
INSERT_DELTAS = f"""
        INSERT INTO events.stats_deltas ({COLUMNS})
        SELECT {COLUMNS} FROM json_populate_recordset(NULL::events.stats_deltas, %s)
"""  # noqa: S608 - our own names

_encode = msgspec.json.Encoder().encode


def encode_deltas(deltas: Sequence[FigureDelta]) -> str:
    return _encode([row_of(delta) for delta in deltas]).decode()
