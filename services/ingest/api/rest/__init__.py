"""REST, but for the hot POST: FastAPI, a file per resource, and the OpenAPI document of it all."""

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Response
from fastapi import Request as Incoming
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Match

from services.ingest.api import answers
from services.ingest.api.door import failed
from services.ingest.api.emails import Emails
from services.ingest.api.http import Disconnected
from services.ingest.api.openapi import complete
from services.ingest.api.resource import Admission, request_of
from services.ingest.api.rest import (
    api_keys,
    domains,
    emails,
    lanes,
    reference,
    sandbox,
    shield,
    suppressions,
    webhooks,
)
from services.ingest.api.sending import Sending
from services.ingest.clients import Others
from services.ingest.domain.problem import Fault, Problem, not_found
from services.ingest.store.directory import DirectoryStore

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NAMES = {404: "not_found", 405: "method_not_allowed", 413: "message_too_large"}
ABOUT = """Send email, see where it is, and why it waits.

Authenticate with `Authorization: Bearer <key>`. Errors are RFC 9457 problem details with a `name`.
Both sends take an `Idempotency-Key`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the resources are made of."""

    admission: Admission
    sending: Sending
    emails: Emails
    others: Others
    directory: DirectoryStore


def rest(parts: Parts) -> FastAPI:
    app = FastAPI(
        title="OBM Engine", version="1", description=ABOUT, docs_url=None, redoc_url=None,
        separate_input_output_schemas=False, redirect_slashes=False,
    )  # fmt: skip
    app.include_router(emails.routes(parts.admission, parts.sending, parts.emails))
    app.include_router(webhooks.routes(parts.admission, parts.others))
    app.include_router(suppressions.routes(parts.admission, parts.others))
    app.include_router(lanes.routes(parts.admission, parts.others))
    app.include_router(shield.routes(parts.admission, parts.sending, parts.others))
    app.include_router(sandbox.routes(parts.admission, parts.others))
    app.include_router(domains.routes(parts.admission, parts.directory))
    app.include_router(api_keys.routes(parts.admission, parts.directory))
    reference.add(app)
    app.add_exception_handler(Problem, refused)
    app.add_exception_handler(RequestValidationError, wrong_query)
    app.add_exception_handler(HTTPException, elsewhere)
    app.add_exception_handler(Exception, broken)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI, with the shapes of what msgspec reads and writes."""
    if not app.openapi_schema:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        app.openapi_schema = complete(made)
    return app.openapi_schema


async def refused(incoming: Incoming, problem: Exception) -> Response:
    if not isinstance(problem, Problem):
        raise problem
    request = request_of(incoming)
    content = answers.problem_body(problem, path=request.path, request_id=request.id)
    fields = answers.problem_headers(problem, request.header(b"accept"))
    return Response(content, problem.status, {k.decode(): v.decode() for k, v in fields})


async def wrong_query(incoming: Incoming, error: Exception) -> Response:
    """FastAPI's words about a parameter, as ours."""
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [
        Fault("#" + "".join(f"/{step}" for step in one["loc"]), "invalid", _words(one))
        for one in error.errors()
    ]
    problem = Problem(422, "validation_error", detail=faults[0].detail, faults=faults)
    return await refused(incoming, problem)


def _words(error: dict[str, Any]) -> str:
    return f"{error['loc'][-1]}: {error['msg']}"


async def elsewhere(incoming: Incoming, error: Exception) -> Response:
    """No such route, or not with this method."""
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, Disconnected):
        raise error.__cause__
    if error.status_code == 404:
        return await refused(incoming, not_found(f"the path {incoming.url.path}"))
    name = NAMES.get(error.status_code, "application_error")
    answer = await refused(incoming, Problem(error.status_code, name, detail=str(error.detail)))
    if error.status_code == 405:
        answer.headers["allow"] = ", ".join(methods_of(incoming))
    return answer


def methods_of(incoming: Incoming) -> list[str]:
    """Those that the path takes (RFC 9110 §15.5.6)."""
    routes = incoming.app.routes
    taken = {
        method
        for method in METHODS
        if any(one.matches({**incoming.scope, "method": method})[0] == Match.FULL for one in routes)
    }
    return sorted(taken | {"HEAD"} if "GET" in taken else taken)


async def broken(incoming: Incoming, _: Exception) -> Response:
    """What nobody expected; the door logs it."""
    return await refused(incoming, failed())
