"""REST, except for POST /v1/emails: FastAPI, one file per resource, and the OpenAPI document."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi import Request as Incoming
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Match

from kernel.brand import Brand
from services.ingest.api import responses
from services.ingest.api.http import ClientDisconnected
from services.ingest.api.http_app import application_error
from services.ingest.api.openapi import complete_document
from services.ingest.api.resources import ApiResources
from services.ingest.api.rest import (
    accounts,
    api_keys,
    audit,
    brands,
    campaigns,
    cells,
    dkim_zone,
    domain_reports,
    domains,
    email_events,
    emails,
    exports,
    health,
    held,
    ips,
    limits,
    logs,
    mailboxes,
    metrics,
    models,
    overrides,
    pools,
    queues,
    recipients,
    reference,
    reports,
    sandbox,
    shield,
    suppression_files,
    suppressions,
    tenants,
    usage,
    webhooks,
)
from services.ingest.api.rest_base import RestAccess, request_of
from services.ingest.api.sending import SendHandler
from services.ingest.domain.problem import Fault, Problem, not_found

DOCUMENTS_MAX = 20  # in memory, one for each brand: 0.2 MB each
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PROBLEM_NAMES = {404: "not_found", 405: "method_not_allowed", 413: "message_too_large"}
ABOUT = """Send email and follow its delivery.

Authenticate with `Authorization: Bearer <key>`. Errors are RFC 9457 problem details with a `name`.
Both send routes accept an `Idempotency-Key`."""


@dataclass(frozen=True, slots=True)
class RestDependencies:
    """The objects that the routes need."""

    access: RestAccess
    send_handler: SendHandler
    resources: ApiResources


def create_rest_app(dependencies: RestDependencies) -> FastAPI:
    app = FastAPI(
        version="1", description=ABOUT, docs_url=None, redoc_url=None, openapi_url=None,
        separate_input_output_schemas=False, redirect_slashes=False,
    )  # fmt: skip
    for router in routers(dependencies):
        # include_router makes each route again, and looks for a request's route in every router.
        app.router.routes.extend(router.routes)
    app.add_exception_handler(Problem, problem_response)
    app.add_exception_handler(RequestValidationError, invalid_query)
    app.add_exception_handler(HTTPException, route_not_found)
    app.add_exception_handler(Exception, internal_error)
    documents = lru_cache(DOCUMENTS_MAX)(partial(openapi_document, app))
    app.openapi = lambda: documents(Brand())  # type: ignore[method-assign]
    reference.add_reference_pages(app, documents)
    return app


def routers(dependencies: RestDependencies) -> Iterator[APIRouter]:
    """The routes of each resource, in the order of the reference."""
    access, resources = dependencies.access, dependencies.resources
    administration = resources.administration
    yield email_events.routes(access, resources.email_events)  # before the routes of an email
    yield metrics.routes(access, resources.metrics)
    yield emails.routes(access, dependencies.send_handler, resources.emails)
    yield exports.routes(access, resources.exports)
    yield webhooks.routes(access, resources.webhooks, resources.webhook_events)
    # before the routes of an address
    yield suppression_files.routes(access, resources.suppression_files)
    yield suppressions.routes(access, resources.suppressions)
    yield recipients.routes(access, resources.recipients)
    yield queues.routes(access, resources.queues)
    yield held.routes(access, resources.held)
    yield shield.routes(access, dependencies.send_handler, resources.scoring)
    yield campaigns.routes(access, resources.campaigns)
    yield models.routes(access, resources.models)
    yield domain_reports.routes(access, resources.domain_reports)
    yield sandbox.routes(access, resources.sandbox)
    yield domains.routes(access, resources.domains)
    yield dkim_zone.routes(access, resources.domains)
    yield accounts.routes(access, administration.accounts)
    yield brands.routes(access, administration.brands)
    yield tenants.routes(access, administration.tenants)
    yield api_keys.routes(access, administration.api_keys)
    yield mailboxes.routes(access, administration.mailboxes)
    yield limits.routes(access, resources.limits)
    yield pools.routes(access, resources.pools)
    yield cells.routes(access, resources.pools.cells)
    yield ips.routes(access, resources.sources)
    yield overrides.routes(access, resources.overrides)
    yield reports.routes(access, resources.reports)
    yield logs.routes(access, resources.logs)
    yield usage.routes(access, resources.usage)
    yield audit.routes(access, administration.audit_log)
    yield health.routes(access, resources.health)


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
    if incoming.method in {"GET", "HEAD"}:
        problem.faults = tuple(map(in_query, problem.faults))
    content = responses.problem_body(
        problem, brand=request.brand, path=request.path, request_id=request.id
    )
    request.refusal = content
    fields = responses.problem_headers(problem, request.header(b"accept"))
    return Response(content, problem.status, {k.decode(): v.decode() for k, v in fields})


def in_query(fault: Fault) -> Fault:
    """The fault of a request without a body: a parameter has what the other services call a
    field."""
    name = fault.pointer.removeprefix("#/")
    is_field = name and name != fault.pointer and "/" not in name
    return replace(fault, pointer=f"#/query/{name}") if is_field else fault


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
    if isinstance(error.__cause__, ClientDisconnected):
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
