"""Clients of the other services: internal RPC with deadlines."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from kernel.rpc import RpcClient, RpcError, RpcUnavailable
from services.ingest.domain.problem import Fault, Problem, not_found, unavailable

if TYPE_CHECKING:  # these names exist for type checkers only
    from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceAsyncStub
    from contracts.events.v1.events_service_pb2_grpc import EventsServiceAsyncStub
    from contracts.kernel.v1.status_service_pb2_grpc import StatusServiceAsyncStub
    from contracts.router.v1.egress_service_pb2_grpc import EgressServiceAsyncStub
    from contracts.router.v1.held_service_pb2_grpc import HeldServiceAsyncStub
    from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub
    from contracts.router.v1.router_service_pb2_grpc import RouterServiceAsyncStub
    from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceAsyncStub

DEADLINE_S = 3.0  # for a list, on a busy machine
STATES_DEADLINE_S = 1.0  # for data that a response can omit
AUDIT_DEADLINE_S = 10.0

Stub = TypeVar("Stub")
Response = TypeVar("Response", bound=Message)


class ServiceClient(Generic[Stub]):
    """One other service."""

    def __init__(self, peer: RpcClient, stub: Callable[[grpc.aio.Channel], Stub]) -> None:
        self._peer = peer
        self.stub = stub(peer.channel)

    async def call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Message,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> Response:
        """Raises Problem: 503 if the service is unavailable, or its refusal."""
        try:
            return await self._peer.call(method, request, deadline_s=deadline_s)
        except RpcUnavailable as error:
            raise unavailable(f"The {error} service is unavailable.") from error
        except RpcError as error:
            raise problem_of(error) from error

    async def stream(
        self, method: Callable[..., AsyncIterable[Response]], request: Message
    ) -> AsyncGenerator[Response, None]:
        """The responses of a method that streams them. Raises Problem, like `call`."""
        try:
            async with aclosing(self._peer.stream(method, request)) as responses:
                async for response in responses:
                    yield response
        except RpcUnavailable as error:
            raise unavailable(f"The {error} service is unavailable.") from error
        except RpcError as error:
            raise problem_of(error) from error

    async def close(self) -> None:
        await self._peer.close()


Statuses: TypeAlias = "dict[str, ServiceClient[StatusServiceAsyncStub]]"
"""What services say of themselves, by name."""


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """Clients of the services that ingest calls."""

    router: "ServiceClient[RouterServiceAsyncStub]"
    delivery: "ServiceClient[DeliveryServiceAsyncStub]"
    events: "ServiceClient[EventsServiceAsyncStub]"
    shield: "ServiceClient[ShieldServiceAsyncStub]"
    policies: "ServiceClient[PolicyServiceAsyncStub]"
    """Of the router."""
    egress: "ServiceClient[EgressServiceAsyncStub]"
    """Of the router."""
    held: "ServiceClient[HeldServiceAsyncStub]"
    """Of the router."""

    async def close(self) -> None:
        for one in fields(self):
            await getattr(self, one.name).close()


def problem_of(error: RpcError) -> Problem:
    """Convert a refusal of another service to an error of the public API."""
    detail = error.detail
    if error.code == grpc.StatusCode.NOT_FOUND:
        return not_found(f"the {detail.removesuffix(' not found')}")
    pointer = f"#/{error.field}" if error.field else "#"
    if error.code == grpc.StatusCode.ALREADY_EXISTS:
        fault = Fault(pointer, "already_exists", detail)
        return Problem(409, "already_exists", detail=detail, faults=[fault])
    if error.code == grpc.StatusCode.INVALID_ARGUMENT:
        fault = Fault(pointer, "invalid", detail)
        return Problem(422, "validation_error", detail=detail, faults=[fault])
    if error.code in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED}:
        return Problem(409, "conflict", detail=detail)
    return Problem(
        500, "application_error", detail="An internal error occurred. Retry the request."
    )
