"""/v1/domains: the domains that a tenant can send from, and their DNS records."""

from typing import Annotated, TypeAlias

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming
from pydantic import BeforeValidator

from services.ingest.api.administration.directory import parse_id
from services.ingest.api.domain_requests import CreateDomainRequest, UpdateDomainRequest
from services.ingest.api.domain_views import summary_to_json, to_json
from services.ingest.api.domains import DomainResource
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)

decode_create = msgspec.json.Decoder(CreateDomainRequest).decode
decode_update = msgspec.json.Decoder(UpdateDomainRequest).decode


def routes(access: RestAccess, domains: DomainResource) -> APIRouter:
    router = APIRouter(prefix="/v1/domains", tags=["domains"], responses=PROBLEM_RESPONSES)
    _read(router, access, domains)
    _write(router, access, domains)
    _rotate_and_remove(router, access, domains)
    return router


def _read(router: APIRouter, access: RestAccess, domains: DomainResource) -> None:
    @router.get("", summary="List the domains that this key's tenant can send from")
    async def list_domains(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        name: Annotated[str, Query(description="Only domains of this name")] = "",
    ) -> Response:
        """Newest first. Without a tenant, an account key lists the domains of the account, an
        operator's those of the installation."""
        caller = await access.authenticate_caller(incoming)
        some, has_more = await domains.list_of(caller, page_of(requested_page), name=name)
        return list_response(map(summary_to_json, some), has_more=has_more)

    @router.get("/{domain_id}", summary="Get a domain with its DNS records")
    async def get(incoming: Incoming, domain_id: str) -> Response:
        """Each record has what the last check found, and what is wrong with it."""
        principal = await access.authenticate(incoming)
        identifier = parse_id(domain_id, "the domain")
        return json_response(to_json(await domains.get(principal, identifier)))


def _write(router: APIRouter, access: RestAccess, domains: DomainResource) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateDomainRequest, "a domain"),
        summary="Add a domain",
    )
    async def create(incoming: Incoming) -> Response:
        """Publish `records`. Live mail can be sent once they are found."""
        principal = await access.authenticate(incoming)
        new = await decode_creation_body(incoming, decode_create)
        return json_response(to_json(await domains.create(principal, new)), 201)

    @router.post("/{domain_id}/verify", summary="Check a domain's DNS records")
    async def verify(incoming: Incoming, domain_id: str) -> Response:
        """The check takes some seconds after the response; see `records` of the domain then."""
        principal = await access.authenticate(incoming)
        identifier = await domains.verify(principal, parse_id(domain_id, "the domain"))
        return json_response({"object": "domain", "id": identifier})

    @router.patch(
        "/{domain_id}",
        openapi_extra=body_schema(UpdateDomainRequest, "fields to change"),
        summary="Change a domain",
    )
    async def update(incoming: Incoming, domain_id: str) -> Response:
        """For mail that is accepted from now on. What is tracked is the default of its emails, and
        the most that they can have."""
        principal = await access.authenticate(incoming)
        identifier = parse_id(domain_id, "the domain")
        changes = await decode_request_body(incoming, decode_update)
        return json_response(to_json(await domains.update(principal, identifier, changes)))


# `?force` without a value means true.
Flag: TypeAlias = Annotated[bool, BeforeValidator(lambda text: text or True)]


def _rotate_and_remove(router: APIRouter, access: RestAccess, domains: DomainResource) -> None:
    @router.post("/{domain_id}/rotate-dkim", summary="Rotate a domain's DKIM keys")
    async def rotate(incoming: Incoming, domain_id: str) -> Response:
        """Publish the new records. The new keys sign as soon as DNS has them; keep the old records
        until `rotation.retire_at`."""
        principal = await access.authenticate(incoming)
        identifier = parse_id(domain_id, "the domain")
        return json_response(to_json(await domains.rotate(principal, identifier)))

    @router.delete("/{domain_id}", summary="Delete a domain")
    async def delete(
        incoming: Incoming,
        domain_id: str,
        force: Annotated[
            Flag, Query(description="Delete although mail waits, with its mailboxes")
        ] = False,
    ) -> Response:
        """Refused with 409 while mail from the domain waits, which would fail, or while it has
        mailboxes, which are deleted with it by `force`."""
        principal = await access.authenticate(incoming)
        identifier = parse_id(domain_id, "the domain")
        await domains.remove(principal, identifier, force=force)
        return deleted_response("domain", identifier)
