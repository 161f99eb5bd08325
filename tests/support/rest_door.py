"""The REST door by itself: no database, no broker, and everybody may come in."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import httpx

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from services.ingest.api.cors import shared
from services.ingest.api.door import Door
from services.ingest.api.gate import Caller
from services.ingest.api.http import Receive, Request, body_of
from services.ingest.api.resource import Admission
from services.ingest.api.rest import Parts, rest
from services.ingest.domain.bodies import Bodies
from services.ingest.domain.email import decode_batch
from services.ingest.domain.limits import Quota
from services.ingest.domain.pointers import decoded

ID = "01890000-0000-7000-8000-000000000000"


class Open:
    """A gate that lets everybody in, with the key that it is given."""

    bodies = Bodies(1024 * 1024 * 1024)

    def __init__(self, key: ApiKey | None) -> None:
        self._key = key or ApiKey(tenant_id=ID)

    async def admit(self, *_: object, **__: object) -> tuple[Caller, Quota]:
        return Caller(self._key, Tenant(account_id=ID)), Quota(9, 9, 1, 0)


class Domains:
    """So many that their list is worth compressing."""

    async def domains(self, *_: object) -> list[Domain]:
        return [Domain(domain_id=f"{ID[:-2]}{n:02}", name=f"d{n}.example") for n in range(20)]

    async def save(self, *_: object) -> None:
        """It is not kept."""

    async def of_tenant(self, *_: object) -> list[ApiKey]:
        raise KeyError("a bug of ours")


class Sending:
    async def send_batch(self, request: Request, _: object, receive: Receive) -> tuple[bytes, Any]:
        decoded(decode_batch, await body_of(request, receive))
        raise AssertionError("it was to be refused")

    async def send_one(self, *_: object) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        raise KeyError("a bug of ours")


def ask(
    method: str, path: str, headers: Mapping[str, str] | None = None, *, origins: str = "",
    content: bytes | None = None, key: ApiKey | None = None,
) -> httpx.Response:  # fmt: skip
    nothing: Any = None
    gate, sending = cast(Any, Open(key)), cast(Any, Sending())
    others = cast(
        Any, type("Others", (), dict.fromkeys(["router", "events", "delivery", "shield"]))
    )
    parts = Parts(Admission(gate), sending, nothing, others, cast(Any, Domains()))
    door = shared(Door(gate, sending, rest(parts)), [origins] if origins else [])

    async def story() -> httpx.Response:
        transport = httpx.ASGITransport(cast(Any, door))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(story())
