"""The REST API alone, without database, broker and authentication."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from operator import attrgetter
from typing import Any, cast

import httpx

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from kernel.brand import Brand, Brands
from kernel.http_server import Receive
from services.ingest.api.access import Principal
from services.ingest.api.administration.directory import DirectoryResource, paginate
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import Caller
from services.ingest.api.cors import with_cors
from services.ingest.api.http import Request, read_body
from services.ingest.api.http_app import HttpApp
from services.ingest.api.request_log import RequestRecorder
from services.ingest.api.rest import RestDependencies, create_rest_app
from services.ingest.api.rest_base import RestAccess
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.email import decode_batch
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem, not_found
from services.ingest.domain.rate_limiter import RateLimitStatus
from services.ingest.store.directory import DirectoryTransaction
from services.ingest.store.directory_lists import EntryOwner, PageBounds
from tests.support.absent_services import resources_alone

ACME_SANDBOX = "acme-sandbox.test"
ID = "01890000-0000-7000-8000-000000000000"
TENANT = Tenant(tenant_id=ID, account_id=ID)


class OpenAccess:
    """Authenticates every request as the given key."""

    bodies = BodyMemory(1024 * 1024 * 1024)

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    async def authenticate(self, *_: object, **__: object) -> tuple[Principal, RateLimitStatus]:
        return Principal(self._key, TENANT), RateLimitStatus(9, 9, 1, 0)

    async def authenticate_caller(self, *_: object, **__: object) -> tuple[Caller, RateLimitStatus]:
        return Caller(self._key, TENANT), RateLimitStatus(9, 9, 1, 0)


class Domains:
    """Enough domains to make compressing their list worthwhile."""

    async def list_domains(self, *_: object) -> list[Domain]:
        return [Domain(domain_id=f"{ID[:-2]}{n:02}", name=f"d{n}.example") for n in range(20)]


class EmptyDirectory(DirectoryResource):
    """A directory with one tenant, which forgets what is saved."""

    def __init__(self) -> None:
        pass

    @asynccontextmanager
    async def changing(self, _: Caller) -> AsyncIterator[DirectoryTransaction]:
        yield cast(Any, self)

    async def find(self, kind: type[Any], *_: object) -> Any:  # noqa: ANN401 - an entry
        return Account(account_id=ID) if kind is Account else TENANT

    async def save(self, *_: object) -> None:
        """Discard the entry."""

    async def page(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - it returns nothing
        raise KeyError("a bug of ours")

    async def owner_of(self, *_: object) -> EntryOwner:
        return EntryOwner()

    async def owner_of_pool(self, _: str) -> EntryOwner:
        return EntryOwner()


class DomainService:
    """Refuses to write, after the body was decoded."""

    async def list_of(
        self, _: Caller, page: PageBounds, *, name: str
    ) -> tuple[Sequence[Domain], bool]:
        found = await Domains().list_domains()
        return paginate(found, page, id_of=attrgetter("domain_id"))

    async def get(self, *_: object) -> object:
        raise not_found("the domain")

    create = update = verify = rotate = get

    async def remove(self, *_: object, force: bool) -> None:
        if not force:
            raise Problem(409, "domain_in_use", detail="Mail from the domain waits.")


class SendHandler:
    async def send_batch(self, request: Request, _: object, receive: Receive) -> tuple[bytes, Any]:
        decode_body(decode_batch, await read_body(request, receive))
        raise AssertionError("it was to be refused")

    async def send_one(self, *_: object) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        raise KeyError("a bug of ours")


def call_api(
    method: str, path: str, headers: Mapping[str, str] | None = None, *, origins: str = "",
    content: bytes | None = None, key: ApiKey | None = None,
) -> httpx.Response:  # fmt: skip
    app = application((key or ApiKey(tenant_id=ID)).SerializeToString(), origins)

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(cast(Any, app))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(scenario())


@cache
def application(key: bytes, origins: str) -> object:
    """Made once: making the routes takes longer than a request."""
    return application_with(OpenAccess(ApiKey.FromString(key)), origins)


@cache
def application_with(access: Any, origins: str = "", clients: Any = None) -> object:  # noqa: ANN401 - AccessControl, or instead of it
    """The REST API with this access control. clients: of the other services; by default none."""
    send_handler = cast(Any, SendHandler())
    account_brands = BrandResolver(brands(), lambda _: None)
    resources = resources_alone(
        account_brands, clients=clients, directory=EmptyDirectory(), domains=DomainService()
    )
    dependencies = RestDependencies(RestAccess(access), send_handler, resources)
    app = HttpApp(
        access,
        send_handler,
        create_rest_app(dependencies),
        brands=account_brands,
        recorder=RequestRecorder(lambda _: None),
    )
    return with_cors(app, [origins] if origins else [])


def brands() -> Brands:
    acme = Brand("Acme Mail", "acme", sandbox_domain=ACME_SANDBOX, api_hosts=("api.acme.test",))
    return Brands({"acme": acme})
