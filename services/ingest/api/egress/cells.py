"""Cells: sets of pools that the router schedules apart, for operators. The router owns them."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated

from msgspec import Meta

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policy_service_pb2 import Cell
from kernel.ids import uuid5_text
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import paginate
from services.ingest.api.callers import Caller
from services.ingest.api.egress.router_client import EgressRouterClient, pointing_to
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import explained
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import PageBounds

RESOURCE = "cell"  # in the audit log
NAMESPACE = b"obm router cells"  # of ids there
NAME_PATTERN = explained(
    r"^[a-z0-9][a-z0-9-]{0,39}$(?!\n)",
    "Use 1 to 40 lower-case letters, digits and hyphens, and no hyphen first",
)


class CreateCellRequest(RequestModel):
    """name: lower-case letters, digits and hyphens."""

    name: Annotated[str, Meta(max_length=40, pattern=NAME_PATTERN)]


class CellResource:
    """Raises Problem for everything that the router refuses."""

    def __init__(self, router: EgressRouterClient, audit_log: AuditLogResource) -> None:
        self._router = router
        self._audit_log = audit_log

    async def page(self, page: PageBounds) -> tuple[Sequence[Cell], bool]:
        """By name, in descending order."""
        found = await self._router.policy(self._router.policies.ListCells, pb.ListCellsRequest())
        return paginate(found.cells, page, id_of=attrgetter("cell"))

    async def create(self, caller: Caller, given: CreateCellRequest) -> Cell:
        request = pb.AddCellRequest(cell=given.name)
        with pointing_to("#/name"):
            cell = (await self._router.policy(self._router.policies.AddCell, request)).cell
        subject = AuditSubject(RESOURCE, uuid5_text(NAMESPACE, cell.cell))
        await self._audit_log.record(caller, (subject, None, cell))
        return cell


def cell_to_json(cell: Cell) -> dict[str, object]:
    return {"object": "cell", "id": cell.cell, "pools": cell.pools, "is_owned": bool(cell.owner)}
