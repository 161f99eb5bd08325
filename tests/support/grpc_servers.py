"""Both gRPC listeners in a process of their own, to measure its memory."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from contracts.events.v1.events_service_pb2_grpc import (
    EventsServiceServicer,
    add_EventsServiceServicer_to_server,
)
from contracts.ingest.v1.directory_pb2 import ApiKey, Tenant
from kernel.brand import Brands
from kernel.health import DependencyHealth
from kernel.rpc import RpcServer
from services.ingest.api.access import Principal
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import RpcAccess
from services.ingest.api.grpc.emails import EmailServicer
from services.ingest.api.grpc.server import PublicGrpcServer, TrustedProxies
from services.ingest.api.grpc.services import public_services
from services.ingest.api.request_log import RequestRecorder
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.problem import Problem, not_found
from services.ingest.domain.rate_limiter import RateLimitStatus
from services.ingest.domain.reserved import SpecialUseDomains
from tests.support.absent_services import NOTHING, resources_alone

CONNECTIONS_MAX = 20
BODIES_BYTES_MAX = 256 * 1024 * 1024
TENANTS = ("one", "another")


class FakeAccessControl:
    """Access control with the keys of two tenants; each tenant is named after its key."""

    bodies = BodyMemory(BODIES_BYTES_MAX)

    async def authenticate(
        self, authorization: str, *_: object, **__: object
    ) -> tuple[Principal, RateLimitStatus]:
        if authorization not in TENANTS:
            raise Problem(401, "missing_api_key", detail="this API key is not known")
        return Principal(ApiKey(), Tenant(tenant_id=authorization)), RateLimitStatus(9, 9, 1, 0)

    async def authenticate_caller(
        self, authorization: str, *_: object, **__: object
    ) -> tuple[Caller, RateLimitStatus]:
        principal, status = await self.authenticate(authorization)
        return Caller(principal.key, principal.tenant), status


class EmptyEmailStore:
    """A store without emails."""

    async def principal_of(self, *_: object) -> None:
        raise not_found("the email")


@contextmanager
def grpc_servers() -> Iterator[tuple[int, int, int]]:
    """The id of the process, and the ports of the public and the internal listener."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            public, internal = map(int, process.stdout.readline().split())
            yield process.pid, public, internal
        finally:
            process.kill()


async def serve() -> None:
    brands = BrandResolver(Brands(), lambda _: None)
    access = RpcAccess(
        cast(Any, FakeAccessControl()),
        TrustedProxies(""),
        brands,
        recorder=RequestRecorder(lambda _: None),
    )
    resources = replace(resources_alone(brands), emails=cast(Any, EmptyEmailStore()))
    emails = EmailServicer(
        access, resources, acceptance=NOTHING,
        recipient_domains=SpecialUseDomains(),
    )  # fmt: skip
    public = PublicGrpcServer(
        public_services(access, emails, resources),
        "127.0.0.1:0",
        authenticate=access.authenticate,
        bodies=access.bodies,
        health=DependencyHealth(),
        connections_max=CONNECTIONS_MAX,
    )
    internal = RpcServer("127.0.0.1:0", "a token")
    add_EventsServiceServicer_to_server(cast(Any, EventsServiceServicer)(), internal.grpc)
    serving = asyncio.gather(public.run(), internal.run())
    print(public.port, internal.port, flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(serve())
