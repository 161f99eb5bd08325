"""The operations on egress sources and overrides, for the OpenAPI document."""

from services.ingest.api import response_schemas
from services.ingest.api.administration.schemas import CellResponse, PoolResponse
from services.ingest.api.callers import OF_ANYBODY, OF_OPERATOR
from services.ingest.api.egress import schemas
from services.ingest.api.operation import Operation

FIRST = "00000000-0000-7000-8000-000000000002"  # the source of a new installation
OPERATIONS = {
    "get /v1/pools": Operation(
        "listPools", response_schemas.list_of(PoolResponse), access=OF_OPERATOR
    ),
    "post /v1/pools": Operation(
        "createPool", PoolResponse, {"name": "newsletters"}, access=OF_OPERATOR
    ),
    "patch /v1/pools/{pool_id}": Operation(
        "updatePool", PoolResponse, {"overflow_pool_id": None}, access=OF_OPERATOR
    ),
    "delete /v1/pools/{pool_id}": Operation(
        "deletePool", response_schemas.DeleteResponse, access=OF_OPERATOR
    ),
    "get /v1/cells": Operation(
        "listCells", response_schemas.list_of(CellResponse), access=OF_OPERATOR
    ),
    "post /v1/cells": Operation("createCell", CellResponse, {"name": "west"}, access=OF_OPERATOR),
    "post /v1/ips": Operation(
        "addIp",
        schemas.IpResponse,
        {"addresses": ["192.0.2.20", "2001:db8::20"], "ehlo": "out2.example.com"},
        access=OF_OPERATOR,
    ),
    "get /v1/ips": Operation(
        "listIps", response_schemas.list_of(schemas.IpResponse), access=OF_ANYBODY
    ),
    "get /v1/ips/{ip_id}": Operation("getIp", schemas.IpResponse, access=OF_ANYBODY),
    "patch /v1/ips/{ip_id}": Operation(
        "updateIp", schemas.IpResponse, {"paused": True}, access=OF_OPERATOR
    ),
    "post /v1/ips/{ip_id}/warmup": Operation(
        "changeWarmup", schemas.IpResponse, {"action": "start"}, access=OF_OPERATOR
    ),
    "post /v1/ips/{ip_id}/suspend": Operation(
        "suspendIp",
        schemas.IpResponse,
        {"site": "yahoo", "until": "in 4 hours"},
        access=OF_OPERATOR,
    ),
    "post /v1/ips/{ip_id}/resume": Operation(
        "resumeIp", schemas.IpResponse, {"site": "yahoo"}, access=OF_OPERATOR
    ),
    "delete /v1/ips/{ip_id}": Operation(
        "removeIp", response_schemas.DeleteResponse, access=OF_OPERATOR
    ),
    "post /v1/overrides": Operation(
        "setOverride",
        schemas.OverrideResponse,
        {"egress_id": FIRST, "site": "yahoo", "hours": 4},
        access=OF_OPERATOR,
    ),
    "get /v1/overrides": Operation(
        "listOverrides", response_schemas.list_of(schemas.OverrideResponse), access=OF_ANYBODY
    ),
    "delete /v1/overrides/{override_id}": Operation(
        "removeOverride", response_schemas.DeleteResponse, access=OF_OPERATOR
    ),
    "get /v1/standings": Operation(
        "listStandings", response_schemas.list_of(schemas.StandingResponse), access=OF_ANYBODY
    ),
}
