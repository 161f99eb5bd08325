"""Everything in deploy/k8s renders, fits its schemas, and keeps the rules."""

from collections.abc import Collection, Iterator, Sequence

import pytest

from kernel.migrate import role_urls
from tests.support.k8s.edges import EXTRA, Edge, edge_faults
from tests.support.k8s.manifests import DEPLOY, Manifest, find, render
from tests.support.k8s.pod_rules import pod_faults
from tests.support.k8s.schemas import schema_faults
from tests.support.k8s.settings import data_of, service_faults, setting_faults

OVERLAYS = sorted(f"overlays/{path.name}" for path in (DEPLOY / "overlays").iterdir())


def all_faults(manifests: Sequence[Manifest], extra: Collection[Edge]) -> Iterator[str]:
    yield from schema_faults(manifests)
    yield from pod_faults(manifests)
    yield from service_faults(manifests)
    yield from setting_faults(manifests)
    yield from edge_faults(manifests, extra)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_no_faults(name: str) -> None:
    assert list(all_faults(render(DEPLOY / name), EXTRA.get(name, []))) == []


def test_the_passwords_of_the_trial_are_those_that_migrations_give_to_roles() -> None:
    manifests = render(DEPLOY / "overlays/dev")

    def data(name: str) -> dict[str, str]:
        secret = find(manifests, "Secret", name)["metadata"]["name"]
        return dict(data_of("Secret", secret, manifests) or {})

    owner = data("obm-database-owner")
    assert owner["password"] in owner["DATABASE_URL"]
    for name in ("ingest", "router", "delivery", "events"):
        urls = role_urls(owner["DATABASE_URL"], [name], secret=owner["DATABASE_ROLE_SECRET"])
        assert data(f"obm-{name}") == urls
