"""Suppressions without a router: in memory, and files of them that are sent to ingest."""

from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import grpc
import pytest

from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel.ids import creation_time_of
from kernel.rpc import Context
from tests.support.ingest import IngestHarness, Response
from tests.support.polling import until
from tests.support.stack import harness_fixture

IMPORTS = "/v1/suppressions/imports"
CSV = {"Content-Type": "text/csv"}
SLOW, FAST = {"suppression_import_interval_s": 3_600.0}, {"suppression_import_interval_s": 0.05}


@dataclass
class MemoryRouter(RouterServiceServicer):
    """Adds and lists suppressions as the router does. refuses: texts of addresses for which it
    fails."""

    suppressions: dict[tuple[str, str, str, bool], pb.Suppression] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    refuses: str = "nothing"
    is_available: bool = True

    async def AddSuppressions(  # noqa: N802 - a name of the contract
        self, request: pb.AddSuppressionsRequest, context: Context
    ) -> pb.AddSuppressionsResponse:
        if not self.is_available:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "postgresql is unavailable")
        if any(self.refuses in one.address for one in request.suppressions):
            await context.abort(grpc.StatusCode.INTERNAL, "a bug")
        self.calls.append(len(request.suppressions))
        found = {}
        for one in request.suppressions:
            unsubscribe = one.origin == "unsubscribe"
            key = (
                request.tenant_id or request.account_id,
                one.address.lower(),
                one.list,
                unsubscribe,
            )
            new = pb.Suppression(
                id=one.id, tenant_id=request.tenant_id,
                account_id="" if request.tenant_id else request.account_id,
                address=one.address, origin=one.origin,
                list=one.list, reason=one.reason, note=one.note,
                expires_at=one.expires_at if one.HasField("expires_at") else None,
            )  # fmt: skip
            new.created_at.FromDatetime(creation_time_of(UUID(one.id)))
            found[key] = self.suppressions.setdefault(key, new)
        return pb.AddSuppressionsResponse(suppressions=found.values())

    async def ListSuppressions(  # noqa: N802 - a name of the contract
        self, request: pb.ListSuppressionsRequest, _: object
    ) -> pb.ListSuppressionsResponse:
        assert request.account_wide == (not request.tenant_id)
        owner_id = request.tenant_id or request.account_id
        own = [one for (owner, *_), one in self.suppressions.items() if owner == owner_id]
        older = [one for one in own if not request.after or one.id < request.after]
        newest = sorted(older, key=lambda one: one.id, reverse=True)
        return pb.ListSuppressionsResponse(
            suppressions=newest[: request.limit], has_more=len(newest) > request.limit
        )

    def addresses(self) -> set[str]:
        return {address for _, address, *_ in self.suppressions}


def harness_with_imports() -> Any:  # noqa: ANN401 - pytest's fixture
    """A fixture: ingest that soon adds what was imported."""

    def create(*arguments: Any) -> IngestHarness:  # noqa: ANN401 - those of the harness
        made = IngestHarness(*arguments)
        made.extra |= {**FAST, "lease_s": 1.0}
        return made

    return harness_fixture(create, scope="function")


@pytest.fixture
def router(harness: IngestHarness) -> MemoryRouter:
    made: Any = MemoryRouter()  # type: ignore[abstract]  # the rest is not requested
    harness.router = made
    return cast(MemoryRouter, made)


async def upload(harness: IngestHarness, octets: bytes, **headers: str) -> Response:
    return await harness.request("POST", IMPORTS, octets, headers={**CSV, **headers})


async def completed(harness: IngestHarness, created: Response) -> Any:  # noqa: ANN401 - JSON
    """The import when it is complete."""
    assert created.status == 202, created.raw
    path, found = f"{IMPORTS}/{created.json['id']}", created.json

    async def is_complete() -> bool:
        nonlocal found
        found = (await harness.request("GET", path)).json
        return bool(found["status"] == "completed")

    await until(is_complete)
    return found


def counts(found: Any) -> tuple[int, int, int, int]:  # noqa: ANN401 - JSON
    return found["lines"], found["added"], found["existing"], found["failed"]


def file_of(count: int, start: int = 0) -> bytes:
    return b"".join(b"n%d@x.example\n" % number for number in range(start, start + count))


def stored(harness: IngestHarness) -> tuple[int, int]:
    """The numbers of the tenant's imports and of their parts."""
    with harness.database.connect() as owner:
        [row] = owner.execute(
            "SELECT count(DISTINCT i.id), count(p.number) FROM ingest.suppression_imports AS i"
            " LEFT JOIN ingest.suppression_import_parts AS p ON p.import_id = i.id"
            " WHERE i.tenant_id = %s",
            (harness.tenant_id,),
        ).fetchall()
    return cast(tuple[int, int], row)
