"""What the version of what was learned that scores beside the live one would change."""

from collections.abc import Mapping, Sequence

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.shield.v1.events_pb2 import ShadowDiffered
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import metrics
from services.shield.domain.shadow import differences, opinion_of, verdicts_of


def compare(
    batch: Sequence[MessageAccepted], screenings: Mapping[str, object]
) -> dict[str, ShadowDiffered]:
    """By message, what differs; counts all that were compared. screenings: by reference, with what
    the child says alone."""
    differing: dict[str, ShadowDiffered] = {}
    for event in batch:
        found = screenings[event.context.content_ref]
        if isinstance(found, ScoreResponse) and found.HasField("shadow"):
            live = opinion_of(found)
            verdicts = verdicts_of(live, found.shadow)
            metrics.shadow_screened.labels(found.shadow.model_version, *verdicts).inc()
            differing |= {one.message_id: one for one in differences([event], live, found.shadow)}
    return differing
