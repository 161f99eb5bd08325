"""`python -m services`: all five in one process, on the Kafka and PostgreSQL of the environment."""

import asyncio
import sys

from kernel import telemetry
from kernel.errors import ConfigError
from kernel.service import Service, run_services
from kernel.settings import Settings, read_settings
from services.delivery import app as delivery
from services.delivery.settings import Settings as DeliverySettings
from services.events import app as events
from services.events.settings import Settings as EventsSettings
from services.ingest import app as ingest
from services.ingest.settings import Settings as IngestSettings
from services.router import app as router
from services.router.settings import Settings as RouterSettings
from services.shield import app as shield
from services.shield.settings import Settings as ShieldSettings


def create_all() -> list[Service]:
    """In the order of the pipeline. Inside the running loop; raises ConfigError."""
    return [
        ingest.create_service(read_settings(IngestSettings, [])),
        shield.create_service(read_settings(ShieldSettings, [])),
        router.create_service(read_settings(RouterSettings, [])),
        delivery.create_service(read_settings(DeliverySettings, [])),
        events.create_service(read_settings(EventsSettings, [])),
    ]


async def main() -> None:
    telemetry.start_telemetry("obm", read_settings(Settings))
    await run_services(create_all())


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
