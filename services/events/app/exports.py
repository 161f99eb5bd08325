"""Wires the files of exports."""

from typing import NamedTuple

from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.lease import Lease
from kernel.service import Actions
from services.events.loops.exports import ExportWriter
from services.events.settings import Settings
from services.events.store.exports import ExportQueue

EXPORT_INTERVAL_S = 1.0
EXPIRY_INTERVAL_S = 5.0


class ExportComponents(NamedTuple):
    lease: Lease
    exporter: ExportWriter

    @property
    def actions(self) -> Actions:
        exporter = self.exporter
        return [
            (EXPORT_INTERVAL_S, exporter.run_once), (EXPIRY_INTERVAL_S, exporter.delete_expired)
        ]  # fmt: skip

    async def close(self) -> None:
        await self.lease.release()
        await self.exporter.database.close()


def create_exports(
    settings: Settings, database: Database, secrets: SecretKeyring
) -> ExportComponents:
    lease = Lease(database, "events", "exports", lease_s=settings.lease_s)
    own = Database(settings.tenant_database_url, connections_max=1, name="events exports")
    exporter = ExportWriter(
        ExportQueue(database, lease), own, secrets, lease,
        page_rows=settings.export_page_rows, rows_max=settings.export_rows_max,
    )  # fmt: skip
    return ExportComponents(lease, exporter)
