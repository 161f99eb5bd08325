"""What ingest itself forgets of a recipient, on real PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from contracts.router.v1.router_service_pb2 import Suppression
from kernel.database import Database, Transaction
from kernel.ids import NIL
from kernel.redaction import ERASED
from services.ingest.store import erasures
from services.ingest.store.audit_log import AuditActor, AuditSubject, record_changes
from services.ingest.store.erasures import Erasure, ErasureStore
from tests.support.stack import FreshDatabase

ANN = "ann@example.net"


class HeldLease:
    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._database.transaction() as tx:
            yield tx


@pytest.mark.parametrize("of_tenant", [True, False])
async def test_the_audit_log_forgets_an_address_for_its_owner_alone(
    database: FreshDatabase, of_tenant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "AUDIT_PAGE", 2)
    account, tenant, sibling = (str(uuid4()) for _ in range(3))
    system = Database(database.system("ingest"), connections_max=1, name="test")
    unused: Any = None
    lease: Any = HeldLease(system)
    store = ErasureStore(system, unused, lease=lease, secrets=unused, return_path_key=b"")
    removed = {
        owner: Suppression(address=ANN.title(), note=f"{ANN} called", origin="complaint")
        for owner in (tenant, sibling, "")
    }
    try:
        async with system.transaction() as tx:
            changes = [
                (AuditSubject("suppression", str(uuid4()), account, owner), before, after)
                for owner, one in removed.items()
                for before, after in ((one, None), (None, one))
            ]
            await record_changes(tx, AuditActor("account", "key"), changes)
        erased = {tenant} if of_tenant else set(removed)
        now = datetime.now(UTC)
        erasure = Erasure(str(uuid4()), account, tenant if of_tenant else "", 0, now, None)
        place: str | None = str(NIL)
        while place:
            place = await store.erase_audit_log(erasure, ANN, after=place)
        async with system.transaction() as tx:
            rows = await tx.rows(
                "SELECT coalesce(tenant_id::text, ''), coalesce(before, after)"
                " FROM ingest.audit_log WHERE account_id = %s",
                (account,),
            )
    finally:
        await system.close()
    assert len(rows) == 6
    for owner, entry in rows:
        assert entry["origin"] == "complaint"
        shown = entry["address"], entry.get("note")
        assert shown == ((ERASED, None) if owner in erased else (ANN.title(), f"{ANN} called"))
