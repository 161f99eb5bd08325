"""The gRPC listener. A call is looked at before its message is read, and what is read is bounded.

grpc.aio reads, and decompresses, the message of a unary method before the method runs. Here every
method is served as one whose request is a stream: it reads its one message when it wants it. Until
then a client can send no more than the window of its stream, 64 KB.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION
from grpc_reflection.v1alpha.reflection import aio as reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server
from uvicorn.middleware.proxy_headers import _TrustedHosts

from contracts.ingest.v1.email_service_pb2 import DESCRIPTOR
from contracts.ingest.v1.email_service_pb2_grpc import (
    EmailServiceServicer,
    add_EmailServiceServicer_to_server,
)
from kernel.auth import SENDING_ACCESS
from kernel.errors import ConfigError
from kernel.health import DependencyHealth
from kernel.rpc import IDENTITY_ONLY
from services.ingest.api.access import Principal
from services.ingest.api.http import BATCH_BYTES_MAX, BODY_BYTES_MAX, check_size
from services.ingest.domain.bodies import BodyMemory, BodyReservation
from services.ingest.domain.problem import Problem

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

SMALL_BYTES_MAX = 64 * 1024  # of a request that carries no email
BYTES_MAX = {"SendEmail": BODY_BYTES_MAX, "SendEmailBatch": BATCH_BYTES_MAX}
READ_S = 300.0  # for a whole message to come in, as by REST
CHECK_S = 0.125  # a message that is not there at a second check counts as the largest
STREAMS_MAX = 100  # of a connection; a client waits with more
HANDSHAKE_MS = 20_000
IDLE_MS = 300_000  # a client that has nothing to say connects again
GRACE_S = 5.0
HEALTH = "grpc.health.v1.Health"
SERVICE = DESCRIPTOR.services_by_name["EmailService"].full_name
REFUSED = {
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
Authenticate: TypeAlias = Callable[[Context, str], Awaitable[Principal]]


class TrustedProxies:
    """Whose X-Forwarded-For is believed: by the rules of the REST API, which are uvicorn's."""

    def __init__(self, trusted: str) -> None:
        self._trusted = _TrustedHosts(trusted or [])

    def client_of(self, context: Context) -> str:
        """The address of the client; empty where it has none."""
        kind, _, address = unquote(context.peer()).partition(":")
        client = address.rpartition(":")[0].strip("[]") if kind.startswith("ip") else ""
        forwarded_for = ", ".join(metadata_values(context, "x-forwarded-for"))
        if forwarded_for and client in self._trusted:
            return self._trusted.get_trusted_client_address(forwarded_for)[0] or client
        return client


def metadata_values(context: Context, name: str) -> list[str]:
    """The values of a field of the metadata."""
    return [str(value) for key, value in context.invocation_metadata() or () if key == name]


def metadata_value(context: Context, name: str) -> str:
    """The last one; empty when there is none."""
    return (metadata_values(context, name) or [""])[-1]


class Arrived(NamedTuple):
    """A message, and its octets on the wire."""

    message: Message
    octets: int


async def read_message(context: Context, reservation: BodyReservation) -> Any:  # noqa: ANN401 - the method's own request
    """The message of a call. Raises Problem."""
    arrived = await next_of(context, reservation)
    if arrived is grpc.aio.EOF:
        raise Problem(400, "validation_error", detail="the call has no message")
    reservation.resize(arrived.octets)
    return arrived.message


async def next_of(context: Context, reservation: BodyReservation) -> Any:  # noqa: ANN401 - as it was parsed, or EOF
    """Raises Problem. How much of a message has come nobody tells us before it is whole."""
    refusal = Problem(408, "request_timeout", detail="the request did not come in time")
    loop = asyncio.get_running_loop()
    timer = loop.call_later(CHECK_S, lambda: check(again=True))

    def check(*, again: bool) -> None:
        """Twice: what came while this loop had no time is read in between."""
        nonlocal refusal, timer
        if again:
            timer = loop.call_later(CHECK_S, partial(check, again=False))
            return
        try:
            reservation.resize(BATCH_BYTES_MAX)
        except Problem as problem:
            refusal = problem
            patience.reschedule(loop.time())

    try:
        async with asyncio.timeout(READ_S) as patience:
            return await context.read()
    except TimeoutError:
        raise refusal from None
    finally:
        timer.cancel()


class _DeferredRead(grpc.aio.ServerInterceptor):
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - grpc's own handler types
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:  # a stream reads when it wants to
            return handler
        octets_max = BYTES_MAX.get(details.method.rpartition("/")[2], SMALL_BYTES_MAX)
        return defer_read(handler, octets_max)


def defer_read(handler: Any, octets_max: int) -> Handler:  # noqa: ANN401 - of any messages
    """A unary method whose behaviour reads its message itself."""

    def parse(octets: bytes) -> Arrived:
        check_size(len(octets), octets_max)
        try:
            return Arrived(handler.request_deserializer(octets), len(octets))
        except DecodeError:
            detail = "the message is not of this method"
            raise Problem(400, "validation_error", detail=detail) from None

    return grpc.stream_unary_rpc_method_handler(
        handler.unary_unary, parse, handler.response_serializer
    )


class Reflection(reflection.ReflectionServicer):  # type: ignore[misc]  # it has no types
    """grpc.reflection: what there is to call. With a key, like everything that reads a message."""

    def __init__(self, authenticate: Authenticate, bodies: BodyMemory) -> None:
        super().__init__([SERVICE, REFLECTION, HEALTH])
        self._authenticate = authenticate
        self._bodies = bodies

    async def ServerReflectionInfo(  # noqa: N802 - the contract's name
        self, _: AsyncIterable[Message], context: Context
    ) -> AsyncIterator[Message]:
        try:
            principal = await self._authenticate(context, SENDING_ACCESS)
            with closing(self._bodies.reserve(principal.tenant_id)) as reservation:
                async for response in super().ServerReflectionInfo(
                    messages(context, reservation), context
                ):
                    yield response
        except Problem as problem:
            code = REFUSED.get(problem.status, grpc.StatusCode.UNAUTHENTICATED)
            await context.abort(code, problem.detail)


async def messages(context: Context, reservation: BodyReservation) -> AsyncIterator[Message]:
    """Of a stream, one at a time. Raises Problem."""
    while (message := await next_of(context, reservation)) is not grpc.aio.EOF:
        yield message
        reservation.resize(0)


class GrpcServer:
    """listen: host:port; port 0 takes any that is free, see `port`."""

    def __init__(
        self,
        service: EmailServiceServicer,
        listen: str,
        *,
        authenticate: Authenticate,
        bodies: BodyMemory,
        health: DependencyHealth,
        connections_max: int,
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", BATCH_BYTES_MAX),
            ("grpc.max_concurrent_streams", STREAMS_MAX),
            ("grpc.max_allowed_incoming_connections", connections_max),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ("grpc.max_connection_idle_ms", IDLE_MS),
            ("grpc.so_reuseport", 0),
            IDENTITY_ONLY,
        ]
        self._server = grpc.aio.server(interceptors=[_DeferredRead()], options=options)
        add_EmailServiceServicer_to_server(service, self._server)
        self._server.add_generic_rpc_handlers((_health_handler(health),))
        add_ServerReflectionServicer_to_server(Reflection(authenticate, bodies), self._server)
        try:
            self.port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise ConfigError(f"{listen}: cannot listen there; is the port taken?") from error

    async def run(self) -> None:
        """A loop: serve until cancelled."""
        await self._server.start()
        try:
            await self._server.wait_for_termination()
        finally:
            await self._server.stop(GRACE_S)


def _health_handler(health: DependencyHealth) -> grpc.GenericRpcHandler:
    """grpc.health.v1, without a key. Whatever service is asked about: its name is not read."""

    async def check(_: object, __: Context) -> Message:
        serving = HealthCheckResponse.SERVING if health.ready else HealthCheckResponse.NOT_SERVING
        response: Message = HealthCheckResponse(status=serving)
        return response

    method: Handler = grpc.unary_unary_rpc_method_handler(
        check, None, HealthCheckResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(HEALTH, {"Check": method})
