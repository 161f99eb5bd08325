"""Everything in deploy/k8s renders, fits its schemas, and keeps the rules."""

from collections.abc import Collection, Iterator, Sequence
from os.path import relpath
from pathlib import Path

import pytest

from kernel.migrate import role_urls
from tests.support.k8s.agreements import agreement_faults
from tests.support.k8s.edges import edge_faults
from tests.support.k8s.manifests import DEPLOY, Manifest, components_of, find, render
from tests.support.k8s.pod_rules import pod_faults
from tests.support.k8s.schemas import schema_faults
from tests.support.k8s.settings import data_of, service_faults, setting_faults

OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (DEPLOY / "components").iterdir())
ALONE = """
resources: [{base}]
components: [{component}]
images:
  - {{ name: obm-engine, digest: "sha256:{digest}" }}
"""


def all_faults(manifests: Sequence[Manifest], components: Collection[str]) -> Iterator[str]:
    yield from schema_faults(manifests)
    yield from pod_faults(manifests)
    yield from service_faults(manifests)
    yield from setting_faults(manifests)
    yield from edge_faults(manifests, components)
    yield from agreement_faults(manifests)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_no_faults(name: str) -> None:
    folder = DEPLOY / "overlays" / name
    assert list(all_faults(render(folder), components_of(folder))) == []


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_has_no_faults_alone(name: str, tmp_path: Path) -> None:
    base, component = (relpath(DEPLOY / part, tmp_path) for part in ("base", f"components/{name}"))
    text = ALONE.format(base=base, component=component, digest="0" * 64)
    (tmp_path / "kustomization.yaml").write_text(text)
    assert list(all_faults(render(tmp_path), [name])) == []


def test_the_passwords_of_the_trial_are_those_that_migrations_give_to_roles() -> None:
    manifests = render(DEPLOY / "overlays/dev")

    def data(name: str) -> dict[str, str]:
        secret = find(manifests, "Secret", name)["metadata"]["name"]
        return dict(data_of("Secret", secret, manifests) or {})

    owner = data("obm-database-owner")
    assert owner["password"] in owner["DATABASE_URL"]
    for name in ("ingest", "shield", "router", "delivery", "events"):
        urls = role_urls(owner["DATABASE_URL"], [name], secret=owner["DATABASE_ROLE_SECRET"])
        assert data(f"obm-{name}") == urls
