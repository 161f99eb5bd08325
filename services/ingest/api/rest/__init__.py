"""REST, except for POST /v1/emails: FastAPI, one file per resource, and the OpenAPI document."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from fastapi import FastAPI, Response
from fastapi import Request as Incoming
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Match

from kernel.brand import Brand
from services.ingest.api import responses
from services.ingest.api.administration import Administration
from services.ingest.api.domains import Domains
from services.ingest.api.egress.overrides import Overrides
from services.ingest.api.egress.router_client import EgressRouterClient
from services.ingest.api.egress.sources import EgressSources
from services.ingest.api.emails import Emails
from services.ingest.api.http import Disconnected
from services.ingest.api.http_app import application_error
from services.ingest.api.openapi import complete_document
from services.ingest.api.policies import Policies
from services.ingest.api.rest import (
    accounts,
    api_keys,
    audit,
    brands,
    domains,
    emails,
    ips,
    limits,
    mailboxes,
    overrides,
    queues,
    reference,
    sandbox,
    shield,
    suppressions,
    tenants,
    webhooks,
)
from services.ingest.api.rest_base import RestAccess, request_of
from services.ingest.api.sending import SendHandler
from services.ingest.api.suppressions import Suppressions
from services.ingest.api.webhooks import Webhooks
from services.ingest.clients import ServiceClients
from services.ingest.domain.problem import Fault, Problem, not_found
from services.ingest.store.directory import DirectoryStore

DOCUMENTS_MAX = 20  # in memory, one for each brand: 0.2 MB each
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PROBLEM_NAMES = {404: "not_found", 405: "method_not_allowed", 413: "message_too_large"}
ABOUT = """Send email and follow its delivery.

Authenticate with `Authorization: Bearer <key>`. Errors are RFC 9457 problem details with a `name`.
Both send routes accept an `Idempotency-Key`."""


@dataclass(frozen=True, slots=True)
class RestDependencies:
    """The objects that the routes of the resources need."""

    access: RestAccess
    send_handler: SendHandler
    emails: Emails
    clients: ServiceClients
    directory: DirectoryStore
    domains: Domains
    administration: Administration


def create_rest_app(dependencies: RestDependencies) -> FastAPI:
    app = FastAPI(
        version="1", description=ABOUT, docs_url=None, redoc_url=None, openapi_url=None,
        separate_input_output_schemas=False, redirect_slashes=False,
    )  # fmt: skip
    app.include_router(
        emails.routes(dependencies.access, dependencies.send_handler, dependencies.emails)
    )
    app.include_router(webhooks.routes(dependencies.access, Webhooks(dependencies.clients)))
    app.include_router(suppressions.routes(dependencies.access, Suppressions(dependencies.clients)))
    app.include_router(
        queues.routes(dependencies.access, dependencies.clients, dependencies.emails)
    )
    app.include_router(
        shield.routes(dependencies.access, dependencies.send_handler, dependencies.clients)
    )
    app.include_router(sandbox.routes(dependencies.access, dependencies.clients))
    app.include_router(domains.routes(dependencies.access, dependencies.domains))
    administration = dependencies.administration
    app.include_router(accounts.routes(dependencies.access, administration.accounts))
    app.include_router(brands.routes(dependencies.access, administration.brands))
    app.include_router(tenants.routes(dependencies.access, administration.tenants))
    app.include_router(api_keys.routes(dependencies.access, administration.api_keys))
    app.include_router(mailboxes.routes(dependencies.access, administration.mailboxes))
    add_policies(app, dependencies)
    app.include_router(audit.routes(dependencies.access, administration.audit_log))
    app.add_exception_handler(Problem, problem_response)
    app.add_exception_handler(RequestValidationError, invalid_query)
    app.add_exception_handler(HTTPException, route_not_found)
    app.add_exception_handler(Exception, internal_error)
    documents = lru_cache(DOCUMENTS_MAX)(partial(openapi_document, app))
    app.openapi = lambda: documents(Brand())  # type: ignore[method-assign]
    reference.add_reference_pages(app, documents)
    return app


def add_policies(app: FastAPI, dependencies: RestDependencies) -> None:
    """What limits mail. The router owns it."""
    access, clients = dependencies.access, dependencies.clients
    tenants = dependencies.administration.tenants
    audit_log = dependencies.administration.audit_log
    router = EgressRouterClient(clients)
    of_operators = Overrides(router, tenants, audit_log)
    sources = EgressSources(router, tenants, audit_log, overrides=of_operators)
    app.include_router(limits.routes(access, Policies(clients), tenants, audit_log=audit_log))
    app.include_router(ips.routes(access, sources))
    app.include_router(overrides.routes(access, of_operators))


def openapi_document(app: FastAPI, brand: Brand) -> dict[str, Any]:
    """OpenAPI, with the schemas of the bodies that msgspec decodes and encodes."""
    made = get_openapi(
        title=brand.name, version=app.version, description=app.description, routes=app.routes
    )
    return complete_document(made, brand)


async def problem_response(incoming: Incoming, problem: Exception) -> Response:
    if not isinstance(problem, Problem):
        raise problem
    request = request_of(incoming)
    content = responses.problem_body(
        problem, brand=request.brand, path=request.path, request_id=request.id
    )
    fields = responses.problem_headers(problem, request.header(b"accept"))
    return Response(content, problem.status, {k.decode(): v.decode() for k, v in fields})


async def invalid_query(incoming: Incoming, error: Exception) -> Response:
    """Convert FastAPI's parameter error to a Problem."""
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [
        Fault("#" + "".join(f"/{step}" for step in one["loc"]), "invalid", _describe(one))
        for one in error.errors()
    ]
    problem = Problem(422, "validation_error", detail=faults[0].detail, faults=faults)
    return await problem_response(incoming, problem)


def _describe(error: dict[str, Any]) -> str:
    return f"{error['loc'][-1]}: {error['msg']}"


async def route_not_found(incoming: Incoming, error: Exception) -> Response:
    """Handle unknown routes and methods, and a disconnected client."""
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, Disconnected):
        raise error.__cause__
    if error.status_code == 404:
        return await problem_response(incoming, not_found(f"the path {incoming.url.path}"))
    name = PROBLEM_NAMES.get(error.status_code, "application_error")
    response = await problem_response(
        incoming, Problem(error.status_code, name, detail=str(error.detail))
    )
    if error.status_code == 405:
        response.headers["allow"] = ", ".join(allowed_methods(incoming))
    return response


def allowed_methods(incoming: Incoming) -> list[str]:
    """The methods that the path accepts (RFC 9110 §15.5.6)."""
    routes = incoming.app.routes
    taken = {
        method
        for method in METHODS
        if any(one.matches({**incoming.scope, "method": method})[0] == Match.FULL for one in routes)
    }
    return sorted(taken | {"HEAD"} if "GET" in taken else taken)


async def internal_error(incoming: Incoming, _: Exception) -> Response:
    """An unexpected exception; the HTTP application logs it."""
    return await problem_response(incoming, application_error())
