"""Internal gRPC between services; every call has a deadline."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from contextlib import aclosing
from functools import partial, wraps
from hmac import compare_digest
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from kernel.errors import ConfigError, Unavailable
from kernel.ids import canonical_uuid
from kernel.rpc_tls import RpcTls, server_credentials
from kernel.tasks import run_concurrently
from kernel.tls import Certificates

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]

DEADLINE_S = 0.2
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
TOKEN_HEADER = "x-obm-token"  # noqa: S105 - the name of the header
FIELD_HEADER = "x-obm-field"
# Compressed messages are rejected before they are read: 48 KB could expand to 50 MB.
IDENTITY_ONLY = ("grpc.compression_enabled_algorithms_bitset", 1)
# A server whose machine is gone closes no connection; its client pings it, and then connects
# to another replica. The server must allow that many pings.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 10_000, 5_000
OPTIONS = [
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),  # most calls take milliseconds
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    IDENTITY_ONLY,
]
UNAVAILABLE_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class RpcUnavailable(Exception):
    """The other service did not respond in time. The text names the service."""


class RpcError(Exception):
    """The other service rejected the request, with this code and detail. field: of the request,
    that is wrong; empty if none is named."""

    def __init__(self, code: grpc.StatusCode, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field


def check_token(token: str) -> None:
    """Raises ConfigError for an empty token, which no server accepts."""
    if not token:
        raise ConfigError("OBM_RPC_TOKEN is empty. Set the same long secret for all services.")


class RpcClient:
    """A channel to another service: `await client.call(stub.Method, request)`."""

    def __init__(self, name: str, address: str, token: str, *, tls: RpcTls | None = None) -> None:
        """address: host:port; with TLS, the host is in the server's certificate. Raises
        ConfigError."""
        check_token(token)
        self.name = name
        self._metadata = ((TOKEN_HEADER, token),)
        if tls is None:
            self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        else:
            credentials = tls.channel_credentials()
            self.channel = grpc.aio.secure_channel(address, credentials, options=OPTIONS)

    async def call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Message,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> Response:
        """method: of a stub on `client.channel`. Raises RpcUnavailable or RpcError."""
        try:
            return await method(request, timeout=deadline_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._mapped(error) from error

    async def stream(
        self, method: Callable[..., AsyncIterable[Response]], request: Message
    ) -> AsyncGenerator[Response, None]:
        """The responses of a method that streams them, without a deadline; closing it ends the
        call. Raises RpcUnavailable or RpcError."""
        call: Any = method(request, metadata=self._metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._mapped(error) from error
        finally:
            call.cancel()

    def _mapped(self, error: grpc.aio.AioRpcError) -> Exception:
        if error.code() in UNAVAILABLE_CODES:
            return RpcUnavailable(self.name)
        field = str(dict(error.trailing_metadata() or ()).get(FIELD_HEADER, ""))
        return RpcError(error.code(), error.details() or "", field)

    async def close(self) -> None:
        await self.channel.close()


class TlsListen(NamedTuple):
    """An address with TLS: host:port."""

    listen: str
    certificates: Certificates
    clients_ca: Path | None = None  # authorities of clients, which must show a certificate


class GrpcServer:
    """The caller registers its servicer: `add_XServicer_to_server(servicer, server.grpc)`.

    listen: host:port; port 0 picks a free port, see `port`; empty: no plain port. tls: see
    `tls_port`. Raises ConfigError.
    """

    def __init__(
        self,
        listen: str,
        *,
        interceptor: grpc.aio.ServerInterceptor,
        options: Sequence[tuple[str, int]],
        grace_s: float = 1.0,
        tls: TlsListen | None = None,
    ) -> None:
        self._grace_s = grace_s
        self.grpc = grpc.aio.server(interceptors=[interceptor], options=options)
        self.port = _bind(self.grpc.add_insecure_port, listen) if listen else 0
        self.tls_port = 0
        if tls is not None:
            credentials = server_credentials(tls.certificates, clients_ca=tls.clients_ca)
            self.tls_port = _bind(
                partial(self.grpc.add_secure_port, server_credentials=credentials), tls.listen
            )

    async def run(self) -> None:
        """A loop: serve until cancelled."""
        await self.grpc.start()
        try:
            await self.grpc.wait_for_termination()
        finally:
            await self.grpc.stop(self._grace_s)


def _bind(add_port: Callable[[str], int], listen: str) -> int:
    """Raises ConfigError."""
    try:
        return add_port(listen)
    except RuntimeError as error:
        raise ConfigError(f"Cannot listen on {listen}. Check that the port is free.") from error


class RpcServer(GrpcServer):
    """Serves RPCs to the other services, which authenticate with the installation's token. tls: for
    all of them. Raises ConfigError."""

    def __init__(self, listen: str, token: str, tls: RpcTls | None = None) -> None:
        check_token(token)
        secure = None
        if tls is not None:
            secure = TlsListen(listen, tls.certificates(), tls.clients_ca)
        super().__init__(
            "" if secure else listen,
            interceptor=_TokenInterceptor(token),
            options=OPTIONS,
            tls=secure,
        )
        self._certificates = secure.certificates if secure else None
        self.port = self.port or self.tls_port

    async def run(self) -> None:
        """A loop: serve until cancelled, with the newest certificate."""
        watch = [self._certificates.watch()] if self._certificates else []
        await run_concurrently([super().run(), *watch], cancel_timeout_s=self._grace_s + 1)


class _TokenInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

        async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "wrong OBM_RPC_TOKEN: it must be the same for all services",
            )

        # A handler with a request stream is called before grpc reads the message; a unary one
        # after.
        self._refuse: Any = grpc.stream_unary_rpc_method_handler(cast(Any, refuse))

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - grpc's own handler types
        given = str(dict(details.invocation_metadata or ()).get(TOKEN_HEADER, ""))
        is_valid = compare_digest(given.encode(), self._token.encode())  # in constant time
        return await continuation(details) if is_valid else self._refuse


class RequestError(Exception):
    """The request is invalid: code, detail and the field that is wrong go to the caller."""

    def __init__(
        self,
        detail: str,
        code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT,
        *,
        field: str = "",
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.field = field


async def abort(context: Context, error: RequestError | Unavailable) -> NoReturn:
    """End an RPC with the status code of the error."""
    if isinstance(error, Unavailable):
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error} is unavailable")
    named = ((FIELD_HEADER, error.field),) if error.field else ()
    await context.abort(error.code, str(error), named)


def map_errors(
    method: Callable[[S, Q, Context], Awaitable[R]],
) -> Callable[[S, Q, Context], Awaitable[R]]:
    """Map RequestError and Unavailable, raised by a servicer's method, to gRPC status codes."""

    @wraps(method)
    async def mapped(self: S, request: Q, context: Context) -> R:
        try:
            return await method(self, request, context)
        except (RequestError, Unavailable) as error:
            await abort(context, error)

    return mapped


def map_stream_errors(
    method: Callable[[S, Q, Context], AsyncIterator[R]],
) -> Callable[[S, Q, Context], AsyncIterator[R]]:
    """The same for a method with a stream of responses."""

    @wraps(method)
    async def mapped(self: S, request: Q, context: Context) -> AsyncIterator[R]:
        responses = cast(AsyncGenerator[R, None], method(self, request, context))
        try:
            async with aclosing(responses):
                async for response in responses:
                    yield response
        except (RequestError, Unavailable) as error:
            await abort(context, error)

    return mapped


def parse_id(text: str, name: str) -> str:
    """An id in its canonical form. Raises RequestError."""
    try:
        return canonical_uuid(text)
    except ValueError as error:
        raise RequestError(f"{name} is not a UUID", field=name) from error


def check_text(text: str, name: str) -> str:
    """Text that PostgreSQL can store. Raises RequestError."""
    if "\0" in text:
        raise RequestError(f"{name} contains a NUL character", field=name)
    return text
