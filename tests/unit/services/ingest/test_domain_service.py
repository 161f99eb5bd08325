"""When domains are not added, and not deleted."""

from typing import Any, cast

import pytest

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import MessageContext
from services.ingest.api.access import Principal
from services.ingest.api.domain_requests import CreateDomainRequest
from services.ingest.api.domains import DomainResource
from services.ingest.domain.problem import Problem

DOMAIN = Domain(domain_id="d1", tenant_id="t1", name="shop.customer.org")


class Waiting:
    """Two pages of waiting mail; the second has the message of this domain."""

    def __init__(self, domain_id: str) -> None:
        self._pages = {"": ("other", "2"), "2": (domain_id, "")}

    async def read_page(self, after: str) -> tuple[list[tuple[MessageContext, str]], str]:
        domain_id, following = self._pages[after]
        return [(MessageContext(domain_id=domain_id), "site")], following


class Parts:
    """In place of the directory, the store and the emails."""

    hosts = ()  # of an installation without a host for bounces

    def __init__(self, waiting: str = "") -> None:
        self.removed: list[str] = []
        self._waiting = waiting

    async def list_domains(self, *_: object) -> list[Domain]:
        return [DOMAIN]

    async def remove(self, domain: Domain, **_: object) -> None:
        self.removed.append(domain.domain_id)

    def waiting_mail(self, *_: object) -> Waiting:
        return Waiting(self._waiting)


@pytest.mark.parametrize(
    ("waiting", "force", "removed"),
    [("d1", False, []), ("d1", True, ["d1"]), ("d2", False, ["d1"])],
)
async def test_deleting_is_refused_while_mail_waits(
    waiting: str, force: bool, removed: list[str]
) -> None:
    parts = Parts(waiting)
    some = cast(Any, parts)
    service = DomainResource(some, some, some, some, some, 9, some, some, some)
    caller = Principal(ApiKey(tenant_id="t1"), Tenant(tenant_id="t1", account_id="a1"))
    if removed:
        await service.remove(caller, "d1", force=force)
    else:
        with pytest.raises(Problem) as refused:
            await service.remove(caller, "d1", force=force)
        assert (refused.value.status, refused.value.name) == (409, "domain_in_use")
    assert parts.removed == removed


async def test_without_a_host_for_bounces_the_refusal_names_no_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    some = cast(Any, Parts())
    service = DomainResource(some, some, some, some, some, 9, some, some, some)
    caller = Principal(ApiKey(tenant_id="t1"), Tenant(tenant_id="t1", account_id="a1"))
    with pytest.raises(Problem) as refused:
        await service.create(caller, CreateDomainRequest(name="shop.customer.org"))
    assert (refused.value.status, "OBM" in refused.value.detail) == (503, False)
    [logged] = caplog.records
    assert vars(logged)["setting"] == "OBM_BOUNCE_MX"
