"""The resources of the API with nothing behind them, for tests of what comes before."""

from types import SimpleNamespace
from typing import Any

from kernel.prices import read_prices
from services.ingest.api.administration import Administration
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.resources import ApiResources, StoredResources, create_resources
from services.ingest.api.tenant_slots import TenantSlots

NOTHING: Any = None


def absent_clients() -> Any:  # noqa: ANN401 - instead of ServiceClients
    services = ("router", "events", "delivery", "shield", "policies", "egress", "held")
    return SimpleNamespace(**dict.fromkeys(services, SimpleNamespace(stub=NOTHING)))


def resources_alone(
    brands: BrandResolver,
    *,
    clients: Any = None,  # noqa: ANN401 - of the other services
    directory: Any = None,  # noqa: ANN401 - ingest's own
    domains: Any = None,  # noqa: ANN401 - the resource
) -> ApiResources:
    """What is not given does not exist."""
    return create_resources(
        clients or absent_clients(),
        NOTHING,
        administration=Administration(
            directory, NOTHING, outbox=NOTHING, secrets=NOTHING, brands=brands,
            prices=read_prices(""), mailboxes_max=9, resume_waiting=NOTHING,
        ),
        own=StoredResources(domains, NOTHING, NOTHING, NOTHING, NOTHING),
        slots=TenantSlots(1, 1),
        requests_per_s=10,
    )  # fmt: skip
