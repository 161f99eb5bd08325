"""Responses about held mail, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.response_schemas import Id, ScoreReason, Time


class HeldMessageResponse(Struct, rename={"from_": "from"}):
    """A message that waits for a review, since when and why. It fails at `expires_at`."""

    object: Literal["held_message"]
    id: Id
    email_id: Id
    tenant_id: Id
    from_: str
    recipient: str
    test: bool
    held_at: Time | None
    expires_at: Time | None
    reason: str
    score: float
    reasons: list[ScoreReason]
    rules_version: str
    model_version: str


class FoundHeld(Struct):
    """Newest first. next: the `after` of the next page, null at the end. A page may be short, or
    empty, before that."""

    object: Literal["list"]
    has_more: bool
    next: str | None
    data: list[HeldMessageResponse]


class HeldReviewResponse(Struct):
    """found: messages that matched, or were named. reviewed: ids of those that were released or
    rejected. not_held: ids of those that are not, or no longer, held. next: the `after` of the next
    call; null: nothing is left to read."""

    object: Literal["held_review"]
    found: int
    reviewed: list[Id]
    not_held: list[Id]
    next: str | None


class ReleaseEmailResponse(Struct):
    """released: ids of the released messages."""

    object: Literal["email"]
    id: Id
    released: list[Id]


class RejectEmailResponse(Struct):
    """rejected: ids of the rejected messages."""

    object: Literal["email"]
    id: Id
    rejected: list[Id]
