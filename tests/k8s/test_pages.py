"""What pages say of kubectl: commands that exist, about resources that the manifests have."""

from copy import deepcopy

import pytest
import yaml

from tests.support.k8s.kubectl import command_faults, commands_of
from tests.support.k8s.manifests import DEPLOY, Manifest, find, render
from tests.support.k8s.schemas import schema_faults
from tests.support.k8s.tools import ROOT

PAGES = ("kubernetes.md", "running-it.md")


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    return [one for path in sorted((DEPLOY / "overlays").iterdir()) for one in render(path)]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("name", PAGES)
def test_commands_name_what_there_is(name: str, everything: list[Manifest]) -> None:
    found = commands_of(page(name))
    assert len(found) == page(name).count("kubectl ") - page(name).count("`kubectl`")
    assert len(found) > 20
    assert [fault for one in found for fault in command_faults(one, everything)] == []


@pytest.mark.parametrize(
    "text",
    [
        "kubectl -n obm get deployments ingress",
        "kubectl -n obm logs deployment/relay",
        "kubectl get pods",
        "kubectl -n obm get pods -l app.kubernetes.io/name=relay",
        "kubectl -n obm scale deployment,statefulset --replicas=0 -l app=obm",
        "kubectl -n obm exec deployment/ingest -- obm operator-keys create",
        "kubectl -n obm port-forward service/ingest 8125",
        "kubectl -n obm delete job/rewinds",
    ],
)
def test_a_command_that_names_what_is_not_there_is_found(
    text: str, everything: list[Manifest]
) -> None:
    try:
        faults = [fault for one in commands_of(text) for fault in command_faults(one, everything)]
    except ValueError as error:
        faults = [str(error)]
    assert faults


def test_the_restored_database_is_a_cluster_that_its_operator_takes() -> None:
    _, _, rest = page("running-it.md").partition("  ```yaml\n  bootstrap:")
    shown = yaml.safe_load("bootstrap:" + rest.partition("```")[0].replace("\n  ", "\n"))
    cluster = deepcopy(find(render(DEPLOY / "overlays/prod"), "Cluster", "obm-db"))
    before = cluster["spec"]["bootstrap"]["initdb"]
    cluster["spec"]["bootstrap"] = shown["bootstrap"]
    assert list(schema_faults([cluster])) == []
    assert {**shown["bootstrap"]["recovery"], "backup": None} == {**before, "backup": None}
