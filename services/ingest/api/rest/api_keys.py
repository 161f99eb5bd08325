"""/v1/api-keys: the API keys of a tenant. Only the response to create contains the secret."""

from ipaddress import ip_network
from operator import attrgetter
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Meta

from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel import auth, clock, times
from kernel.ids import time_of, uuid7_text
from services.ingest.api.access import Principal
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    deleted_response,
    format_time,
    format_timestamp,
    json_response,
    list_response,
    paginate,
    parse_id,
    query_or_503,
)
from services.ingest.domain.email import RequestModel
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.directory import DirectoryStore


class CreateApiKeyRequest(RequestModel):
    """test: defaults to the mode of the creating key. expires_at, cidrs: default to those of the
    creating key, and cannot exceed them."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    permission: Literal["full_access", "sending_access"] = "full_access"
    domain_id: str | None = None
    cidrs: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)
    expires_at: str | None = None
    test: bool | None = None


LIFE_MAX_S = 100 * 365 * 86_400
decode = msgspec.json.Decoder(CreateApiKeyRequest).decode


def routes(access: RestAccess, directory: DirectoryStore) -> APIRouter:
    router = APIRouter(prefix="/v1/api-keys", tags=["api-keys"], responses=PROBLEM_RESPONSES)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateApiKeyRequest, "a key"),
        summary="Create a key",
    )
    async def create(incoming: Incoming) -> Response:
        """`token` is the key. It is not stored and cannot be retrieved later."""
        principal = await access.authenticate(incoming)
        secret, key = await _create_key(
            directory, principal, await decode_creation_body(incoming, decode)
        )
        await query_or_503(directory.save(key))
        return json_response({**to_json(key), "token": secret}, 201)

    @router.get("", summary="List the keys of this key's tenant")
    async def list_keys(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first. A test key lists test keys only."""
        principal = await access.authenticate(incoming)
        found = await _list_visible(directory, principal)
        some, has_more = paginate(found, requested_page, id_of=attrgetter("key_id"))
        return list_response(map(to_json, some), has_more=has_more)

    @router.delete("/{key_id}", summary="Delete a key")
    async def delete(incoming: Incoming, key_id: str) -> Response:
        """The key stops working within a second."""
        principal = await access.authenticate(incoming)
        identifier = parse_id(key_id, "the API key")
        for key in await _list_visible(directory, principal):
            if key.key_id == identifier:
                key.deleted = True
                await query_or_503(directory.save(key))
                return deleted_response("api_key", identifier)
        raise not_found("the API key")

    return router


async def _list_visible(directory: DirectoryStore, principal: Principal) -> list[ApiKey]:
    """A test key has no access to live keys. Raises Problem."""
    found = await query_or_503(directory.list_of_tenant(ApiKey, principal.tenant_id))
    return [key for key in found if key.test or not principal.test]


async def _create_key(
    directory: DirectoryStore, principal: Principal, new: CreateApiKeyRequest
) -> tuple[str, ApiKey]:
    """Raises Problem."""
    test = principal.key.test if new.test is None else new.test
    if principal.key.test and not test:
        detail = "A test key cannot create live keys."
        raise Problem(403, "restricted_api_key", detail=detail)
    await _check_domain(directory, principal, new.domain_id or "")
    secret = auth.generate_key(test=test)
    key = ApiKey(
        key_id=uuid7_text(),
        tenant_id=principal.tenant_id,
        account_id=principal.key.account_id,
        secret_sha256=auth.digest(secret),
        name=new.name,
        test=test,
        scopes=[new.permission],
        domain_id=new.domain_id or "",
        cidrs=_networks(new.cidrs) or principal.key.cidrs,
        expires_at=_expiry(new.expires_at, principal.key),
    )
    _check_networks(principal.key, key)
    return secret, key


async def _check_domain(directory: DirectoryStore, principal: Principal, domain_id: str) -> None:
    """A key cannot create a key with more permissions than its own. Raises Problem."""
    if principal.key.domain_id and domain_id != principal.key.domain_id:
        detail = "This key is restricted to one domain and can create keys for that domain only."
        raise Problem(403, "restricted_api_key", detail=detail)
    if domain_id:
        account_id = principal.tenant.account_id
        own = await query_or_503(directory.list_domains(principal.tenant_id, account_id))
        if domain_id not in {one.domain_id for one in own}:
            raise invalid(
                [Fault("#/domain_id", "invalid", "domain_id is not one of your domains.")]
            )


def _networks(cidrs: list[str]) -> list[str]:
    try:
        return [str(ip_network(cidr, strict=False)) for cidr in cidrs]
    except ValueError as error:
        raise invalid([Fault("#/cidrs", "invalid", f"Invalid cidrs: {error}.")]) from None


def _check_networks(creator: ApiKey, key: ApiKey) -> None:
    """Raises Problem if the new key has networks outside those of the creating key."""
    own = [ip_network(cidr) for cidr in creator.cidrs]
    for cidr in own and map(ip_network, key.cidrs):
        if not any(cidr.version == one.version and cidr.subnet_of(one) for one in own):  # type: ignore[arg-type]
            detail = f"This key is restricted to CIDR ranges. {cidr} is outside them."
            raise Problem(403, "restricted_api_key", detail=detail)


def _expiry(text: str | None, creator: ApiKey) -> Timestamp | None:
    """The expiry, by default and at most that of the creating key. Raises Problem."""
    own = creator.expires_at if creator.HasField("expires_at") else None
    if text is None:
        return own
    try:
        seconds = int(times.parse_time(text).timestamp())
    except ValueError as error:
        raise invalid(
            [Fault("#/expires_at", "invalid_time", f"Invalid expires_at: {error}.")]
        ) from None
    if not 0 < seconds - clock.now().timestamp() <= LIFE_MAX_S:
        detail = "expires_at is not within the next 100 years."
        raise invalid([Fault("#/expires_at", "invalid_time", detail)])
    if own and seconds > own.seconds:
        detail = f"The new key would expire after this one. Use at most {format_timestamp(own)}."
        raise Problem(403, "restricted_api_key", detail=detail)
    return Timestamp(seconds=seconds)


def to_json(key: ApiKey) -> dict[str, object]:
    return {
        "object": "api_key",
        "id": key.key_id,
        "name": key.name,
        "permission": next(iter(key.scopes), None),
        "domain_id": key.domain_id or None,
        "cidrs": list(key.cidrs),
        "expires_at": format_timestamp(key.expires_at),
        "test": key.test,
        "created_at": format_time(time_of(UUID(key.key_id))),
    }
