"""Alerts and boards: of metrics that exist; each alert has a test, and a section of advice."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernel import metrics
from tests.support.k8s.manifests import DEPLOY, Manifest
from tests.support.k8s.tools import ROOT
from tests.support.kafka_exporter import exported

FOLDER = DEPLOY / "components/monitoring"
BOARDS = sorted((FOLDER / "boards").glob("*.json"))
RULES: Manifest = yaml.safe_load((FOLDER / "rules.yaml").read_text())["spec"]
TESTS = yaml.safe_load(Path(__file__).with_name("alerts.test.yaml").read_text())
PAGE = (ROOT / "docs/running-it.md").read_text()
# What is no name of a metric in a query: matchers and ranges, texts, lists of labels.
ASIDE = re.compile(
    r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\""
    r"|\b(?:by|without|on|ignoring|group_left|group_right) ?\([^)]*\)"
)
METRIC = re.compile(r"(?<![\w:$.])[a-zA-Z_:][\w:]*\b(?!\s*\()")
WORDS = {"and", "or", "unless", "bool", "offset"}
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
BY = re.compile(r"\bby \(([^)]*)\)")
OF_TARGETS = {"service", "pod", "le"}  # what Prometheus adds
# https://kubernetes.io/docs/reference/instrumentation/metrics/; the namespace is of a claim too.
OF_KUBELETS = {
    f"kubelet_volume_stats_{one}_bytes": {"namespace", "persistentvolumeclaim"}
    for one in ("available", "capacity")
}
SECTION = re.compile(r"^## (Obm\w+)\n\n\*(Page|Ticket)\.\*", re.MULTILINE)


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


ALERTS = [one for one in rules() if "alert" in one]
RECORDED = {one["record"] for one in rules() if "record" in one}


def known() -> dict[str, set[str]]:
    """Names of samples, with the labels that they have."""
    found: dict[str, set[str]] = {}
    for one in list(metrics.registry._collector_to_names):  # which has the labels, unlike collect()
        labels = set(getattr(one, "_labelnames", ()))
        found |= dict.fromkeys(metrics.registry._collector_to_names[one], labels)
    return found


def of_cloudnativepg() -> dict[str, set[str]]:
    """By its default queries."""
    recorded = tomllib.loads(Path(__file__).with_name("cloudnativepg_metrics.toml").read_text())
    return {
        f"cnpg_{table}_{metric}": set(one.get("labels", ()))
        for table, one in recorded.items()
        for metric in one["metrics"]
    }


KNOWN = known() | exported() | of_cloudnativepg() | OF_KUBELETS


def names_in(expression: str) -> set[str]:
    """The metrics and recorded series of a query, whoever exports them."""
    return set(METRIC.findall(ASIDE.sub(" ", expression))) - WORDS


def faults(expression: str) -> list[str]:
    names = names_in(expression)
    labels = OF_TARGETS.union(*(KNOWN.get(name, set()) for name in names), {"consumer"})
    used = set(LABEL.findall(expression))
    used |= {one.strip() for group in BY.findall(expression) for one in group.split(",")}
    unknown = [f"no metric {one}" for one in sorted(names - KNOWN.keys() - RECORDED)]
    return unknown + [f"no label {one}" for one in sorted(used - labels)]


def test_rules_are_about_metrics_that_exist() -> None:
    assert [fault for one in rules() for fault in faults(one["expr"])] == []


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_board_shows_metrics_that_exist(path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) >= len(panels) > 10
    assert [fault for one in expressions for fault in faults(one)] == []
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_a_metric_or_label_that_does_not_exist_is_found() -> None:
    assert faults('rate(obm_messages_lost_total{outcome="x"}[5m])') == [
        "no metric obm_messages_lost_total",
        "no label outcome",
    ]
    assert faults("sum by (tenant) (obm_ready)") == ["no label tenant"]
    for name in (
        "kafka_server_replicamanager_lost", "cnpg_backends_lost", "node_lost_bytes", "up",
    ):  # fmt: skip
        assert faults(f"max({name}) > 1.5") == [f"no metric {name}"]
    assert faults('max(cnpg_pg_replication_lag{usename="x"})') == ["no label usename"]


def test_the_names_in_a_query_are_those_of_series() -> None:
    query = (
        'histogram_quantile(0.99, sum by (le, pod) (rate(a_bucket{b=~"c_d|e"}[$__rate_interval])))'
        " / on (pod) group_left (node) f:g:h unless clamp_min (1e6 * j_total offset 5m, 1) > bool 2"
    )
    assert names_in(query) == {"a_bucket", "f:g:h", "j_total"}


def test_the_queries_of_cloudnativepg_are_those_that_are_recorded() -> None:
    cluster = yaml.safe_load((DEPLOY / "components/cnpg/cluster.yaml").read_text())["spec"]
    assert not cluster.get("monitoring", {}).get("disableDefaultQueries")
    major = int(re.findall(r":(\d+)\.", cluster["imageName"])[0])
    assert major >= 17


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    sections = {name: severity.lower() for name, severity in SECTION.findall(PAGE)}
    assert sections == {one["alert"]: one["labels"]["severity"] for one in ALERTS}
    for one in ALERTS:
        assert one["annotations"]["runbook"] == f"docs/running-it.md#{one['alert'].lower()}"
        assert one["annotations"]["summary"]


def test_each_alert_has_a_test_of_when_it_is_silent_fires_and_ends() -> None:
    found: dict[str, list[bool]] = {}
    for test in TESTS["tests"]:
        for one in test["alert_rule_test"]:
            found.setdefault(one["alertname"], []).append(bool(one.get("exp_alerts")))
    assert found == {one["alert"]: [False, True, False] for one in ALERTS}


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """By Prometheus' own tool."""
    if not (promtool := shutil.which("promtool")):
        reason = "promtool is absent: it is part of Debian's package prometheus"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"left out: {reason}")
    (tmp_path / "whole.yaml").write_text(json.dumps(RULES))
    files = [write_test(tmp_path, one) for one in TESTS["tests"]]
    for command in (["check", "rules", "whole.yaml"], ["test", "rules", *files]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def write_test(folder: Path, test: dict[str, Any]) -> str:
    """Write a test of one alert, and the rules that it needs: promtool evaluates all rules that a
    file names at each interval of each of its tests."""
    [alert] = [one for one in ALERTS if one["alert"] == test["name"]]
    # Without annotations, or each test would repeat them.
    rules = [*recorded_for(alert), {key: alert[key] for key in alert.keys() - {"annotations"}}]
    (folder / f"{test['name']}.rules").write_text(
        json.dumps({"groups": [{"name": "tested", "rules": rules}]})
    )
    file = folder / f"{test['name']}.test"
    rule_files, interval = [f"{test['name']}.rules"], test["interval"]
    whole = {"rule_files": rule_files, "evaluation_interval": interval, "tests": [test]}
    file.write_text(json.dumps(whole))
    return file.name


def recorded_for(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """The recording rules that a rule reads, after those that these read."""
    names = {*METRIC.findall(rule["expr"])}
    read = [one for one in rules() if one.get("record") in names]
    return [*(deeper for one in read for deeper in recorded_for(one)), *read]
