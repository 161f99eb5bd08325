"""The operations on the log of API requests, for the OpenAPI document."""

from typing import Any, Literal

from msgspec import Struct

from services.ingest.api.callers import SPANNING
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import Id, Time, list_of


class LogSummary(Struct):
    """A request to the API. endpoint: the path after /v1, without addresses and query."""

    id: Id
    created_at: Time
    endpoint: str
    method: str
    response_status: int
    user_agent: str
    request_id: str


class LogResponse(LogSummary):
    """The same with the bodies of a refusal (4xx). request_body: the lengths of its texts in their
    places; null for other responses, and if it was no JSON or more than 8 KiB."""

    object: Literal["log"]
    request_body: dict[str, Any] | list[Any] | None
    response_body: dict[str, Any] | None


OPERATIONS = {
    "get /v1/logs": Operation("listLogs", list_of(LogSummary), access=SPANNING),
    "get /v1/logs/{log_id}": Operation("getLog", LogResponse, access=SPANNING),
}
