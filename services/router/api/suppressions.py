"""Requests for suppressions, checked and converted for the store."""

from collections.abc import Sequence

from contracts.router.v1 import router_service_pb2 as pb
from kernel.ids import lower_bound_at
from kernel.rpc import RequestError, check_text, parse_id
from kernel.times import clamp_timestamp
from services.router.domain.events import unix_s
from services.router.domain.suppressions import MANUAL, ORIGINS, NewSuppression
from services.router.store.suppressions import SuppressionFilter

SUPPRESSIONS_MAX = 1000  # in a request


def new_suppressions(request: pb.AddSuppressionsRequest) -> list[NewSuppression]:
    """Raises RequestError."""
    check_number(request.suppressions)
    return [new_suppression(one) for one in request.suppressions]


def new_suppression(one: pb.NewSuppression) -> NewSuppression:
    origin = one.origin or MANUAL
    if origin not in ORIGINS:
        raise RequestError(
            f"Unknown origin {origin[:50]!r}. Use one of {', '.join(ORIGINS)}.", field="origin"
        )
    return NewSuppression(
        check_text(one.address, "address"),
        origin,
        list=check_text(one.list, "list"),
        reason=check_text(one.reason, "reason"),
        note=check_text(one.note, "note"),
        expires_s=unix_s(one.expires_at),
        id=parse_id(one.id, "id") if one.id else "",
    )


def suppression_query(request: pb.ListSuppressionsRequest, key: bytes) -> SuppressionFilter:
    """key: of the hashes of erased addresses."""
    since = clamp_timestamp(request.since) if request.HasField("since") else None
    return SuppressionFilter(
        parse_id(request.id, "id") if request.id else "",
        check_text(request.address, "address"),
        check_text(request.origin, "origin"),
        check_text(request.domain, "domain"),
        check_text(request.list, "list") if request.HasField("list") else None,
        since_id=str(lower_bound_at(since)) if since else "",
        expired=request.expired,
        key=key,
    )


def names_to_remove(request: pb.RemoveSuppressionsRequest) -> list[str]:
    """Raises RequestError."""
    check_number(request.addresses)
    return [check_text(one, "addresses") for one in request.addresses]


def address_of(request: pb.EraseMessagesRequest | pb.EraseSuppressionsRequest) -> str:
    """An empty text would be found everywhere. Raises RequestError."""
    if "@" not in request.address:
        raise RequestError("address is no email address.")
    return check_text(request.address, "address")


def check_number(items: Sequence[object]) -> None:
    if len(items) > SUPPRESSIONS_MAX:
        raise RequestError(
            f"Too many suppressions ({len(items)}). Send at most {SUPPRESSIONS_MAX} in one request."
        )
