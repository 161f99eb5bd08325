"""The gRPC listener: it authenticates a call before it reads the message, and bounds its size.

grpc.aio reads and decompresses the message of a unary method before the method runs. Here every
method is served as one with a request stream, and reads its single message itself. Until then a
client can send no more than the flow control window of its stream, 64 KB."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import closing, suppress
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

from kernel.health import DependencyHealth
from kernel.rpc import IDENTITY_ONLY, GrpcServer, TlsListen
from services.ingest.api.access import Principal
from services.ingest.api.callers import ANY_KEY, AccessRule, Caller
from services.ingest.api.http import BATCH_BYTES_MAX, BODY_BYTES_MAX, DISCARD_S, check_size
from services.ingest.domain.body_memory import BodyMemory, BodyReservation
from services.ingest.domain.problem import Problem

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

SMALL_BYTES_MAX = 64 * 1024  # for requests without an email
ADDRESSES_BYTES_MAX = 1024 * 1024  # for 500 addresses or mailboxes
BYTES_MAX = {
    "SendEmail": BODY_BYTES_MAX,
    "ScoreEmail": BODY_BYTES_MAX,
    "SendEmailBatch": BATCH_BYTES_MAX,
    "AddSuppressions": ADDRESSES_BYTES_MAX,
    "CreateMailboxes": ADDRESSES_BYTES_MAX,
    "RemoveSuppressions": ADDRESSES_BYTES_MAX,
    "CreateSuppressionImport": 4 * 1024 * 1024,  # each of its messages
}
READ_S = 300.0  # timeout for reading a whole message, as in REST
CHECK_S = 0.125  # a message that is incomplete at the second check counts as the largest
STREAMS_MAX = 100  # per connection; the client queues further calls
HANDSHAKE_MS = 20_000
IDLE_MS = 300_000  # an idle client must reconnect
GRACE_S = 5.0
HEALTH = "grpc.health.v1.Health"
REFUSED = {
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
Authenticate: TypeAlias = Callable[[Context, AccessRule], Awaitable[Principal | Caller]]


class TrustedProxies:
    """The proxies whose X-Forwarded-For is trusted, by uvicorn's rules, as in the REST API."""

    def __init__(self, trusted: str) -> None:
        self._trusted = _TrustedHosts(trusted or [])

    def client_of(self, context: Context) -> str:
        """The client's address; empty if it has none."""
        kind, _, address = unquote(context.peer()).partition(":")
        client = address.rpartition(":")[0].strip("[]") if kind.startswith("ip") else ""
        forwarded_for = ", ".join(metadata_values(context, "x-forwarded-for"))
        if forwarded_for and client in self._trusted:
            return self._trusted.get_trusted_client_address(forwarded_for)[0] or client
        return client


def metadata_values(context: Context, name: str) -> list[str]:
    """All values of a metadata field."""
    return [str(value) for key, value in context.invocation_metadata() or () if key == name]


def metadata_value(context: Context, name: str) -> str:
    """The last value of a metadata field; empty if there is none."""
    return (metadata_values(context, name) or [""])[-1]


class SizedMessage(NamedTuple):
    """A message and its size on the wire."""

    message: Message
    octets: int


async def read_message(context: Context, reservation: BodyReservation) -> Any:  # noqa: ANN401 - the method's own request
    """Read the message of a unary call. Raises Problem."""
    received = await read_next(context, reservation)
    if received is grpc.aio.EOF:
        raise Problem(400, "validation_error", detail="The call has no message.")
    reservation.resize(received.octets)
    return received.message


async def read_next(context: Context, reservation: BodyReservation) -> Any:  # noqa: ANN401 - a parsed message, or EOF
    """Read the next message, or EOF. Raises Problem. gRPC does not report how much of a message has
    arrived until it is complete."""
    refusal = Problem(408, "request_timeout", detail="The request did not arrive in time.")
    loop = asyncio.get_running_loop()
    timer = loop.call_later(CHECK_S, lambda: check(first=True))

    def check(*, first: bool) -> None:
        """Check twice, so that data that arrived while the loop was busy is read in between."""
        nonlocal refusal, timer
        if first:
            timer = loop.call_later(CHECK_S, partial(check, first=False))
            return
        try:
            reservation.resize(BATCH_BYTES_MAX)
        except Problem as problem:
            refusal = problem
            deadline.reschedule(loop.time())

    try:
        async with asyncio.timeout(READ_S) as deadline:
            return await context.read()
    except TimeoutError:
        raise refusal from None
    finally:
        timer.cancel()


async def discard_messages(messages: AsyncIterator[Any]) -> None:
    """Read the rest of a stream: a client that is still sending would see a broken call instead of
    the refusal."""
    with suppress(Problem, TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            async for _ in messages:
                pass


class _DeferredReadInterceptor(grpc.aio.ServerInterceptor):
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - grpc's own handler types
        handler = await continuation(details)
        if handler is None or handler.stream_stream is not None:  # reads its messages itself
            return handler
        octets_max = BYTES_MAX.get(details.method.rpartition("/")[2], SMALL_BYTES_MAX)
        return defer_read(handler, octets_max)


def defer_read(handler: Any, octets_max: int) -> Handler:  # noqa: ANN401 - of any messages
    """Convert a method to one that reads its message itself; the first one, if it has many."""

    def parse(octets: bytes) -> SizedMessage:
        check_size(len(octets), octets_max)
        try:
            return SizedMessage(handler.request_deserializer(octets), len(octets))
        except DecodeError:
            detail = "The message does not parse as the request of this method."
            raise Problem(400, "validation_error", detail=detail) from None

    serialize = handler.response_serializer
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(handler.unary_stream, parse, serialize)
    method = handler.unary_unary or handler.stream_unary
    return grpc.stream_unary_rpc_method_handler(method, parse, serialize)


class Reflection(reflection.ReflectionServicer):  # type: ignore[misc]  # it has no types
    """grpc.reflection. It requires a key, like every method that reads a message."""

    def __init__(
        self, services: Sequence[str], authenticate: Authenticate, bodies: BodyMemory
    ) -> None:
        super().__init__([*services, REFLECTION, HEALTH])
        self._authenticate = authenticate
        self._bodies = bodies

    async def ServerReflectionInfo(
        self, _: AsyncIterable[Message], context: Context
    ) -> AsyncIterator[Message]:
        try:
            caller = await self._authenticate(context, ANY_KEY)
            with closing(self._bodies.reserve(caller.tenant_id)) as reservation:
                async for response in super().ServerReflectionInfo(
                    read_messages(context, reservation), context
                ):
                    yield response
        except Problem as problem:
            code = REFUSED.get(problem.status, grpc.StatusCode.UNAUTHENTICATED)
            await context.abort(code, problem.detail)


async def read_messages(context: Context, reservation: BodyReservation) -> AsyncIterator[Any]:
    """Iterate over the messages of a stream, as read_next returns them. Raises Problem."""
    while (message := await read_next(context, reservation)) is not grpc.aio.EOF:
        yield message
        reservation.resize(0)


class PublicService(NamedTuple):
    """A service of the public API. name: with its package. add: registers the servicer."""

    name: str
    servicer: object
    add: Callable[[Any, grpc.aio.Server], None]


class PublicGrpcServer(GrpcServer):
    """The public services, with health checks and reflection."""

    def __init__(
        self,
        services: Sequence[PublicService],
        listen: str,
        *,
        authenticate: Authenticate,
        bodies: BodyMemory,
        health: DependencyHealth,
        connections_max: int,
        tls: TlsListen | None = None,
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
        super().__init__(
            listen,
            interceptor=_DeferredReadInterceptor(),
            options=options,
            grace_s=GRACE_S,
            tls=tls,
        )
        for service in services:
            service.add(service.servicer, self.grpc)
        self.grpc.add_generic_rpc_handlers((_health_handler(health),))
        names = [service.name for service in services]
        add_ServerReflectionServicer_to_server(Reflection(names, authenticate, bodies), self.grpc)


def _health_handler(health: DependencyHealth) -> grpc.GenericRpcHandler:
    """grpc.health.v1, without a key. The service name of the request is ignored."""

    async def check(_: object, __: Context) -> Message:
        serving = HealthCheckResponse.SERVING if health.ready else HealthCheckResponse.NOT_SERVING
        response: Message = HealthCheckResponse(status=serving)
        return response

    method: Handler = grpc.unary_unary_rpc_method_handler(
        check, None, HealthCheckResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(HEALTH, {"Check": method})
