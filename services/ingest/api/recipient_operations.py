"""The operations on recipients, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.callers import SPANNING_UNLESS_OPERATOR
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import Id, Time, list_of


class ErasureResponse(Struct):
    """The erasure of a recipient. tenant_id: null for all tenants of an account. messages: whose
    recipient was removed so far. topics_expire_at: from then on no topic has the recipient."""

    object: Literal["erasure"]
    id: Id
    tenant_id: Id | None
    scope: Literal["tenant", "account"]
    status: Literal["running", "completed"]
    messages: int
    created_at: Time
    completed_at: Time | None
    topics_expire_at: Time


OPERATIONS = {
    "delete /v1/recipients/{address}": Operation(
        "eraseRecipient", ErasureResponse, access=SPANNING_UNLESS_OPERATOR
    ),
    "get /v1/erasures": Operation(
        "listErasures", list_of(ErasureResponse), access=SPANNING_UNLESS_OPERATOR
    ),
    "get /v1/erasures/{erasure_id}": Operation(
        "getErasure", ErasureResponse, access=SPANNING_UNLESS_OPERATOR
    ),
}
