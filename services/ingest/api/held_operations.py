"""The operations on held mail, for the OpenAPI document."""

from services.ingest.api import held_schemas
from services.ingest.api.callers import OF_ANYBODY, SPANNING
from services.ingest.api.operation import Operation

BY_RULE = {"filter": {"rule": "words"}, "reason": "a newsletter that readers asked for"}
OPERATIONS = {
    "get /v1/held": Operation("listHeld", held_schemas.FoundHeld, access=OF_ANYBODY),
    "post /v1/held/release": Operation(
        "releaseHeld", held_schemas.HeldReviewResponse, BY_RULE, access=OF_ANYBODY
    ),
    "post /v1/held/reject": Operation(
        "rejectHeld",
        held_schemas.HeldReviewResponse,
        {"filter": {"sender": "store.example.net", "score_from": 8}, "reason": "a stolen account"},
        access=OF_ANYBODY,
    ),
    "post /v1/emails/{email_id}/release": Operation(
        "releaseEmail", held_schemas.ReleaseEmailResponse, access=SPANNING
    ),
    "post /v1/emails/{email_id}/reject": Operation(
        "rejectEmail", held_schemas.RejectEmailResponse, access=SPANNING
    ),
}
