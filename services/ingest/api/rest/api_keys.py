"""/v1/api-keys: the keys of the caller's tenant. A key is shown once, when it is made."""

from ipaddress import ip_network
from operator import attrgetter
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Response
from fastapi import Request as Incoming
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Meta

from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel import auth, clock, times
from kernel.ids import time_of, uuid7_text
from services.ingest.api.gate import Caller
from services.ingest.api.resource import (
    PROBLEMS,
    Admission,
    Page,
    asked,
    deleted,
    iso,
    known_id,
    listed,
    moment,
    new,
    page,
    part,
    said,
    shape,
)
from services.ingest.domain.email import Strict
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.directory import DirectoryStore


class NewKey(Strict):
    """test: absent, of the mode of the key that makes it. expires_at, cidrs: absent, as those of
    the key that makes it; never wider."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    permission: Literal["full_access", "sending_access"] = "full_access"
    domain_id: str | None = None
    cidrs: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)
    expires_at: str | None = None
    test: bool | None = None


LIFE_MAX_S = 100 * 365 * 86_400
decode = msgspec.json.Decoder(NewKey).decode


def routes(admission: Admission, directory: DirectoryStore) -> APIRouter:
    router = APIRouter(prefix="/v1/api-keys", tags=["api-keys"], responses=PROBLEMS)

    @router.post("", status_code=201, openapi_extra=shape(NewKey, "a key"), summary="Make a key")
    async def create(incoming: Incoming) -> Response:
        """`token` is the key: it is stored nowhere, and not shown again."""
        caller = await admission.caller(incoming)
        secret, key = await _new(directory, caller, await new(incoming, decode))
        await asked(directory.save(key))
        return said({**shown(key), "token": secret}, 201)

    @router.get("", summary="List the keys of this key's tenant")
    async def list_keys(incoming: Incoming, *, which: Annotated[Page, Depends(page)]) -> Response:
        """Newest first; for a test key those of test."""
        caller = await admission.caller(incoming)
        found = await _seen(directory, caller)
        some, has_more = part(found, which, id_of=attrgetter("key_id"))
        return listed(map(shown, some), has_more=has_more)

    @router.delete("/{key_id}", summary="Delete a key")
    async def delete(incoming: Incoming, key_id: str) -> Response:
        """It stops working within a second."""
        caller = await admission.caller(incoming)
        identifier = known_id(key_id, "the API key")
        for key in await _seen(directory, caller):
            if key.key_id == identifier:
                key.deleted = True
                await asked(directory.save(key))
                return deleted("api_key", identifier)
        raise not_found("the API key")

    return router


async def _seen(directory: DirectoryStore, caller: Caller) -> list[ApiKey]:
    """By a test key no live one. Raises Problem."""
    found = await asked(directory.of_tenant(ApiKey, caller.tenant_id))
    return [key for key in found if key.test or not caller.test]


async def _new(directory: DirectoryStore, caller: Caller, new: NewKey) -> tuple[str, ApiKey]:
    """Raises Problem."""
    test = caller.key.test if new.test is None else new.test
    if caller.key.test and not test:
        detail = "a test key makes test keys only"
        raise Problem(403, "restricted_api_key", detail=detail)
    await _check_domain(directory, caller, new.domain_id or "")
    secret = auth.make(test=test)
    key = ApiKey(
        key_id=uuid7_text(),
        tenant_id=caller.tenant_id,
        account_id=caller.key.account_id,
        secret_sha256=auth.digest(secret),
        name=new.name,
        test=test,
        scopes=[new.permission],
        domain_id=new.domain_id or "",
        cidrs=_networks(new.cidrs) or caller.key.cidrs,
        expires_at=_end(new.expires_at, caller.key),
    )
    _check_networks(caller.key, key)
    return secret, key


async def _check_domain(directory: DirectoryStore, caller: Caller, domain_id: str) -> None:
    """A key cannot make one that may do more than itself. Raises Problem."""
    if caller.key.domain_id and domain_id != caller.key.domain_id:
        detail = "a key that is bound to a domain makes keys for that domain only"
        raise Problem(403, "restricted_api_key", detail=detail)
    if domain_id:
        account_id = caller.tenant.account_id
        own = await asked(directory.domains(caller.tenant_id, account_id))
        if domain_id not in {one.domain_id for one in own}:
            raise invalid([Fault("#/domain_id", "invalid", "domain_id is not a domain of yours")])


def _networks(cidrs: list[str]) -> list[str]:
    try:
        return [str(ip_network(cidr, strict=False)) for cidr in cidrs]
    except ValueError as error:
        raise invalid([Fault("#/cidrs", "invalid", f"cidrs: {error}")]) from None


def _check_networks(maker: ApiKey, made: ApiKey) -> None:
    """Raises Problem when a key of some networks makes one of others."""
    own = [ip_network(cidr) for cidr in maker.cidrs]
    for cidr in own and map(ip_network, made.cidrs):
        if not any(cidr.version == one.version and cidr.subnet_of(one) for one in own):  # type: ignore[arg-type]
            detail = f"a key that is bound to networks makes keys within those only: not {cidr}"
            raise Problem(403, "restricted_api_key", detail=detail)


def _end(text: str | None, maker: ApiKey) -> Timestamp | None:
    """Not after the end of the key that makes it, which is the default. Raises Problem."""
    own = maker.expires_at if maker.HasField("expires_at") else None
    if text is None:
        return own
    try:
        seconds = int(times.read(text).timestamp())
    except ValueError as error:
        raise invalid([Fault("#/expires_at", "invalid_time", f"expires_at: {error}")]) from None
    if not 0 < seconds - clock.now().timestamp() <= LIFE_MAX_S:
        detail = "expires_at is not within the next 100 years"
        raise invalid([Fault("#/expires_at", "invalid_time", detail)])
    if own and seconds > own.seconds:
        detail = f"a key that expires makes none that lasts longer: expires_at after {moment(own)}"
        raise Problem(403, "restricted_api_key", detail=detail)
    return Timestamp(seconds=seconds)


def shown(key: ApiKey) -> dict[str, object]:
    return {
        "object": "api_key",
        "id": key.key_id,
        "name": key.name,
        "permission": next(iter(key.scopes), None),
        "domain_id": key.domain_id or None,
        "cidrs": list(key.cidrs),
        "expires_at": moment(key.expires_at),
        "test": key.test,
        "created_at": iso(time_of(UUID(key.key_id))),
    }
