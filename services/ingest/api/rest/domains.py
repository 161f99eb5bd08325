"""/v1/domains: the domains that a tenant can send from."""

from operator import attrgetter
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.ids import time_of
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    format_time,
    json_response,
    list_response,
    paginate,
    parse_id,
    query_or_503,
)
from services.ingest.domain.problem import not_found
from services.ingest.store.directory import DirectoryStore


def routes(access: RestAccess, directory: DirectoryStore) -> APIRouter:
    router = APIRouter(prefix="/v1/domains", tags=["domains"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the domains that this key's tenant can send from")
    async def list_domains(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first."""
        principal = await access.authenticate(incoming)
        account_id = principal.tenant.account_id
        found = await query_or_503(directory.list_domains(principal.tenant_id, account_id))
        some, has_more = paginate(found, requested_page, id_of=attrgetter("domain_id"))
        return list_response(map(to_json, some), has_more=has_more)

    @router.get("/{domain_id}", summary="Get a domain")
    async def get(incoming: Incoming, domain_id: str) -> Response:
        principal = await access.authenticate(incoming)
        identifier = parse_id(domain_id, "the domain")
        account_id = principal.tenant.account_id
        for one in await query_or_503(directory.list_domains(principal.tenant_id, account_id)):
            if one.domain_id == identifier:
                return json_response(to_json(one))
        raise not_found("the domain")

    return router


def to_json(domain: Domain) -> dict[str, object]:
    return {
        "object": "domain",
        "id": domain.domain_id,
        "name": domain.name,
        "shared": domain.shared,
        "created_at": format_time(time_of(UUID(domain.domain_id))),
        "return_path": domain.return_path_host,
        "dkim_selectors": [domain.rsa_selector, domain.ed25519_selector],
    }
