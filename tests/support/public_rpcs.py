"""The RPCs of the public gRPC API, without a server."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from kernel.brand import Brands
from services.ingest.api.access import AccessControl
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.grpc.base import RpcAccess
from services.ingest.api.grpc.emails import EmailServicer
from services.ingest.api.grpc.server import PublicService, SizedMessage, TrustedProxies
from services.ingest.api.grpc.services import public_services
from services.ingest.api.request_log import RequestRecorder
from services.ingest.domain.reserved import SpecialUseDomains
from tests.support.absent_services import NOTHING, resources_alone

DETAILS = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)


class RefusedError(Exception):
    """The status with which a call ended."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__(status.details)
        self.code = status.code
        found = dict(status.trailing_metadata or ())
        self.status = status_pb2.Status.FromString(found["grpc-status-details-bin"])

    @property
    def reason(self) -> str:
        """The name of the problem."""
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in self.status.details)
        return str(info.reason)


class Rpc(NamedTuple):
    """A method of a service. service: with its package."""

    service: str
    method: MethodDescriptor
    servicer: Any

    def request(self, **fields: object) -> Message:
        return GetMessageClass(self.method.input_type)(**fields)

    async def call(self, request: Message, *metadata: tuple[str, str]) -> Message:
        """Raises RefusedError."""

        async def abort(status: grpc.Status) -> None:
            raise RefusedError(status)

        async def read() -> SizedMessage:
            return SizedMessage(request, request.ByteSize())

        context = SimpleNamespace(
            peer=lambda: "ipv4:192.0.2.1:5", invocation_metadata=lambda: metadata,
            abort_with_status=abort, read=read,
        )  # fmt: skip
        return cast(Message, await getattr(self.servicer, self.method.name)(None, context))


def services_with(access: AccessControl) -> list[PublicService]:
    """The services with this access control, and with nothing behind it."""
    brands = BrandResolver(Brands(), lambda _: None)
    rpc_access = RpcAccess(
        access, TrustedProxies(""), brands, recorder=RequestRecorder(lambda _: None)
    )
    resources = resources_alone(brands)
    emails = EmailServicer(
        rpc_access, resources, acceptance=NOTHING,
        recipient_domains=SpecialUseDomains(),
    )  # fmt: skip
    return public_services(rpc_access, emails, resources)


def rpcs(services: Sequence[PublicService]) -> Iterator[Rpc]:
    """Every RPC of the services' descriptors."""
    for service in services:
        descriptor: Any = Default().FindServiceByName(service.name)
        for method in descriptor.methods:
            yield Rpc(service.name, method, service.servicer)
