"""The operations on what screens messages, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.callers import OF_OPERATOR
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import Time, list_of


class ScreeningModel(Struct):
    """A model that screens messages, or has. id: its version. role: with which it was started last;
    in the role `shadow` it decides nothing."""

    object: Literal["screening_model"]
    id: str
    role: Literal["live", "shadow"]
    rules_version: str
    first_started_at: Time | None
    last_started_at: Time | None


class LearnedVersion(Struct):
    """What was learned since a model was trained. id: its version. role: `live`; `shadow`: it
    scores beside the live one, and decides nothing; or `past`. due_at: when it is promoted by
    itself; null: never, because learning only watches. campaigns: that it has learned from. auc,
    fpr: on labelled mail that nothing has learned from. change: the last one. reviewed_by: the key
    of who has decided; null: its time had come."""

    object: Literal["learned_version"]
    id: str
    model_version: str
    role: Literal["live", "shadow", "past"]
    published_at: Time
    due_at: Time | None
    campaigns: int
    auc: float
    fpr: float
    change: Literal["promoted", "withdrawn"] | None
    changed_at: Time | None
    reviewed_by: str | None
    reason: str | None


OPERATIONS = {
    "get /v1/shield/models": Operation("listModels", list_of(ScreeningModel), access=OF_OPERATOR),
    "get /v1/shield/versions": Operation(
        "listVersions", list_of(LearnedVersion), access=OF_OPERATOR
    ),
    "post /v1/shield/versions/{version_id}/promote": Operation(
        "promoteVersion", LearnedVersion, access=OF_OPERATOR
    ),
    "post /v1/shield/versions/{version_id}/withdraw": Operation(
        "withdrawVersion", LearnedVersion, access=OF_OPERATOR
    ),
}
