"""/v1/limits and /v1/pools: what each scope may use and has used, and egress pools. For
operators."""

from operator import attrgetter
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from contracts.router.v1.directory_pb2 import Pool
from contracts.router.v1.policies_pb2 import LimitsChanged
from contracts.router.v1.policy_service_pb2 import LimitUsage
from kernel.ids import uuid5_text
from services.ingest.api.administration.audit_log import AuditLog
from services.ingest.api.administration.base import paginate
from services.ingest.api.administration.tenants import Tenants
from services.ingest.api.policies import (
    CreatePoolRequest,
    Policies,
    ScopeLimits,
    UpdatePoolRequest,
)
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    decode_request_body,
    deleted_response,
    format_timestamp,
    json_response,
    list_response,
    page_of,
)
from services.ingest.store.audit_log import Subject

NAMESPACE = b"obm limit scopes"  # of the ids of scopes in the audit log
decode_limits = msgspec.json.Decoder(ScopeLimits).decode
decode_pool = msgspec.json.Decoder(CreatePoolRequest).decode
decode_update = msgspec.json.Decoder(UpdatePoolRequest).decode


def routes(
    access: RestAccess, policies: Policies, tenants: Tenants, *, audit_log: AuditLog
) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=PROBLEM_RESPONSES)
    _add_limits(router, access, policies, audit_log=audit_log)
    _add_pools(router, access, policies, tenants=tenants, audit_log=audit_log)
    _add_pool_changes(router, access, policies, audit_log=audit_log)
    return router


def _add_limits(
    router: APIRouter, access: RestAccess, policies: Policies, *, audit_log: AuditLog
) -> None:
    @router.get("/limits", tags=["limits"], summary="List the limits and their use")
    async def list_limits(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        scope: Annotated[str, Query(description="Only scopes that contain this")] = "",
    ) -> Response:
        """Of the scopes that have sent lately, and those that operators have set."""
        await access.authenticate_caller(incoming)
        found = [one for one in await policies.limits() if scope in one.scope]
        page, has_more = paginate(found, page_of(requested_page), id_of=id_of_limit)
        return list_response(map(usage_to_json, page), has_more=has_more)

    @router.put(
        "/limits",
        tags=["limits"],
        openapi_extra=body_schema(ScopeLimits, "a scope and its limits"),
        summary="Set the limits of a scope",
    )
    async def set_limits(incoming: Incoming) -> Response:
        """In force within a second. They replace what an operator has set before; without a limit
        and a weight, it is removed. Of several limits of a scope, the smallest holds."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_limits)
        before, limits = await policies.set_limits(caller, given)
        subject = Subject("limits", uuid5_text(NAMESPACE, limits.scope))
        await audit_log.record(caller, (subject, before, limits), action="set")
        return json_response(limits_to_json(limits))


def _add_pools(
    router: APIRouter,
    access: RestAccess,
    policies: Policies,
    *,
    tenants: Tenants,
    audit_log: AuditLog,
) -> None:
    @router.get("/pools", tags=["pools"], summary="List the egress pools")
    async def list_pools(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        name: Annotated[str, Query(description="Only the pool of this name")] = "",
    ) -> Response:
        await access.authenticate_caller(incoming)
        found = [one for one in await policies.pools() if name in {"", one.name}]
        page, has_more = paginate(found, page_of(requested_page), id_of=attrgetter("pool_id"))
        return list_response(map(pool_to_json, page), has_more=has_more)

    @router.post(
        "/pools",
        tags=["pools"],
        status_code=201,
        openapi_extra=body_schema(CreatePoolRequest, "a pool"),
        summary="Create an egress pool",
    )
    async def create(incoming: Incoming) -> Response:
        """With `dedicated`, a pool of this name without a tenant is used again."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_pool)
        used = await tenants.pool_ids() if given.dedicated else ()
        pool = await policies.create_pool(given, used)
        await audit_log.record(caller, (Subject("pool", pool.pool_id), None, pool))
        return json_response(pool_to_json(pool), 201)


def _add_pool_changes(
    router: APIRouter, access: RestAccess, policies: Policies, *, audit_log: AuditLog
) -> None:
    @router.patch(
        "/pools/{pool_id}",
        tags=["pools"],
        openapi_extra=body_schema(UpdatePoolRequest, "the overflow pool"),
        summary="Change the overflow of an egress pool",
    )
    async def update(incoming: Incoming, pool_id: str) -> Response:
        """Its mail at a site overflows while its own sources cannot send more there."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        before = await policies.pool(pool_id)
        pool = await policies.set_overflow(before, given)
        await audit_log.record(caller, (Subject("pool", pool.pool_id), before, pool))
        return json_response(pool_to_json(pool))

    @router.delete("/pools/{pool_id}", tags=["pools"], summary="Delete an egress pool")
    async def delete(incoming: Incoming, pool_id: str) -> Response:
        """Only without egress sources, and if no other pool overflows to it."""
        caller = await access.authenticate_caller(incoming)
        pool = await policies.pool(pool_id)
        await policies.remove_pool(pool)
        await audit_log.record(caller, (Subject("pool", pool.pool_id), pool, None))
        return deleted_response("pool", pool.pool_id)


def id_of_limit(one: LimitUsage) -> str:
    return f"{one.scope}/{one.limit}"


def usage_to_json(one: LimitUsage) -> dict[str, object]:
    return {
        "object": "limit",
        "id": id_of_limit(one),
        "scope": one.scope,
        "limit": one.limit,
        "maximum": one.maximum,
        "used": one.used,
        "remaining": max(one.maximum - one.used, 0),
        "available_at": format_timestamp(one.available_at),
        "reason": one.reason or None,
        "set_by": one.set_by or None,
    }


def limits_to_json(one: LimitsChanged) -> dict[str, object]:
    return {
        "object": "limits",
        "scope": one.scope,
        "per_second": one.per_second or None,
        "per_minute": one.per_minute or None,
        "per_hour": one.per_hour or None,
        "per_day": one.per_day or None,
        "in_flight": one.in_flight_max or None,
        "time_zone": one.time_zone or None,
        "weight": one.weight or None,
        "changed_at": format_timestamp(one.changed_at),
        "changed_by": one.changed_by,
    }


def pool_to_json(pool: Pool) -> dict[str, object]:
    return {
        "object": "pool",
        "id": pool.pool_id,
        "name": pool.name,
        "overflow_pool_id": pool.overflow_pool_id or None,
        "cell": pool.cell,
    }
