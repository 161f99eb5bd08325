"""The order in which domains are checked."""

from uuid import uuid4

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.database import PLANS
from services.ingest.store.domains import DUE
from tests.support.stack import FreshDatabase, opened

MANY = 300


async def test_tenants_take_turns(database: FreshDatabase) -> None:
    busy, late = str(uuid4()), str(uuid4())
    with database.connect() as connection:
        connection.execute("SET session_replication_role = replica")  # no tenants are needed
        for number, tenant in enumerate([busy] * MANY + [late]):
            domain = Domain(
                domain_id=str(uuid4()), tenant_id=tenant, account_id=tenant, name=f"d{number}.net"
            )
            connection.execute(
                "INSERT INTO ingest.domains"
                " (id, tenant_id, account_id, name, shared, record, version)"
                " VALUES (%s, %s, %s, %s, false, %s, %s)",
                (domain.domain_id, tenant, tenant, domain.name, domain.SerializeToString(), number),
            )
            connection.execute(
                "INSERT INTO ingest.domain_checks (domain_id, due_at, state)"
                " VALUES (%s, now() - make_interval(secs => %s), '')",
                (domain.domain_id, MANY - number + 1),
            )
    async with opened(database.system("ingest"), session=PLANS) as engine:
        rows = await engine.execute_autocommit(DUE, (10,))
    tenants = [Domain.FromString(bytes(record)).tenant_id for (record,) in rows]
    assert len(tenants) == 10
    assert tenants[:2] == [busy, late]
