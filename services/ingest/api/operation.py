"""One operation of the OpenAPI document."""

from dataclasses import dataclass, field

from services.ingest.api.callers import OF_TENANT, AccessRule


@dataclass(frozen=True, slots=True)
class Operation:
    """response: a schema; None if the response is not JSON. example: a valid request body. access:
    who may call it. media_types: of responses that are not JSON."""

    id: str
    response: type | None
    example: object = None
    headers: tuple[str, ...] = field(default=())
    access: AccessRule = OF_TENANT
    media_types: tuple[str, ...] = ()
