"""/v1/domains: what a tenant may send from."""

from operator import attrgetter
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from fastapi import Request as Incoming

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.ids import time_of
from services.ingest.api.resource import (
    PROBLEMS,
    Admission,
    Page,
    asked,
    iso,
    known_id,
    listed,
    page,
    part,
    said,
)
from services.ingest.domain.problem import not_found
from services.ingest.store.directory import DirectoryStore


def routes(admission: Admission, directory: DirectoryStore) -> APIRouter:
    router = APIRouter(prefix="/v1/domains", tags=["domains"], responses=PROBLEMS)

    @router.get("", summary="List the domains that this key's tenant may send from")
    async def list_domains(
        incoming: Incoming, *, which: Annotated[Page, Depends(page)]
    ) -> Response:
        """Newest first."""
        caller = await admission.caller(incoming)
        account_id = caller.tenant.account_id
        found = await asked(directory.domains(caller.tenant_id, account_id))
        some, has_more = part(found, which, id_of=attrgetter("domain_id"))
        return listed(map(shown, some), has_more=has_more)

    @router.get("/{domain_id}", summary="One domain")
    async def get(incoming: Incoming, domain_id: str) -> Response:
        caller = await admission.caller(incoming)
        identifier = known_id(domain_id, "the domain")
        account_id = caller.tenant.account_id
        for one in await asked(directory.domains(caller.tenant_id, account_id)):
            if one.domain_id == identifier:
                return said(shown(one))
        raise not_found("the domain")

    return router


def shown(domain: Domain) -> dict[str, object]:
    return {
        "object": "domain",
        "id": domain.domain_id,
        "name": domain.name,
        "shared": domain.shared,
        "created_at": iso(time_of(UUID(domain.domain_id))),
        "return_path": domain.return_path_host,
        "dkim_selectors": [domain.rsa_selector, domain.ed25519_selector],
    }
