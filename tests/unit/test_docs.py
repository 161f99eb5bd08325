"""The documentation names what exists: settings, metrics, pages, and bodies of the API."""

import importlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from cli.environment import SERVICES
from kernel import metrics
from kernel.settings import env_name
from tests.support.pages import ELLIPSIS, PAGES, ROOT, Block, read_blocks
from tests.support.rest_api import call_api

SETTING = re.compile(
    r"(?<![\w…])(?:OBM|INGEST|SHIELD|ROUTER|DELIVERY|EVENTS|OTEL)_[A-Z0-9_]*[A-Z0-9]\b(?!_)"
)
METRIC = re.compile(r"`(obm_[a-z_]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
SHELL = {"OBM_API_URL", "OBM_API_KEY", "OBM_OPERATOR_KEY"}  # the reader's own variables
BODY = re.compile(r"(request|response|problem) of (\w+)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def known_settings() -> set[str]:
    """The settings of the services, and the variables that commands read."""
    found = set(SHELL)
    for name in SERVICES:
        kind = importlib.import_module(f"services.{name}.settings").Settings
        found |= {env_name(kind, field, info) for field, info in kind.model_fields.items()}
    for path in (ROOT / "cli").glob("*.py"):
        found |= set(SETTING.findall(path.read_text()))
    return found


@each_page
def test_settings_exist(page: Path) -> None:
    assert set(SETTING.findall(page.read_text())) - known_settings() == set()


@each_page
def test_metrics_exist(page: Path) -> None:
    assert set(METRIC.findall(page.read_text())) - known_metrics() == set()


@cache
def known_metrics() -> set[str]:
    return {sample for one in metrics.registry.collect() for sample in {one.name, *names(one)}}


def names(metric: Any) -> set[str]:  # noqa: ANN401 - of prometheus_client
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {metric.name + suffix for suffix in suffixes.get(metric.type, [])}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        f"{target}#{anchor}"
        for target, anchor in LINK.findall(page.read_text())
        if not leads_somewhere(page, target, anchor)
    ]
    assert broken == []


def leads_somewhere(page: Path, target: str, anchor: str) -> bool:
    path = (page.parent / target).resolve() if target else page
    return path.exists() and (not anchor or anchor in anchors(path))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


BODIES = [block for page in PAGES for block in read_blocks(page) if BODY.match(block.comment)]


@pytest.mark.parametrize("block", BODIES, ids=str)
def test_bodies_are_those_of_the_api(block: Block) -> None:
    [(kind, operation)] = BODY.findall(block.comment)
    components = exact_components(partial=kind == "response")
    schema = {**body_schema(api_document(), kind, operation), "components": components}
    errors = jsonschema_rs.validator_for(schema).iter_errors(without_ellipses(block.text))
    assert [one.message for one in errors] == []


@cache
def api_document() -> dict[str, Any]:
    document: dict[str, Any] = call_api("GET", "/openapi.json").json()
    return document


@cache
def exact_components(*, partial: bool) -> Any:  # noqa: ANN401 - JSON
    return exact(api_document()["components"], partial=partial)


def body_schema(document: dict[str, Any], kind: str, operation: str) -> dict[str, Any]:
    """operation: its operationId."""
    [found] = [
        one
        for methods in document["paths"].values()
        for one in methods.values()
        if one["operationId"] == operation
    ]
    success = next(one for status, one in found["responses"].items() if status[0] == "2")
    body = found["requestBody"] if kind == "request" else success
    if kind == "problem":
        body = found["responses"]["4XX"]
    schema: dict[str, Any] = body["content"]["application/json"]["schema"]
    return schema


def exact(schema: Any, *, partial: bool) -> Any:  # noqa: ANN401 - JSON
    """Without members that the schema does not name. partial: some may be left out."""
    if isinstance(schema, list):
        return [exact(one, partial=partial) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: exact(one, partial=partial) for name, one in schema.items()}
    if isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
        if partial:
            found.pop("required", None)
    return found


def without_ellipses(text: str) -> Any:  # noqa: ANN401 - JSON
    def shortened(value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            return {name: shortened(one) for name, one in value.items()}
        return (
            [shortened(one) for one in value if one != ELLIPSIS]
            if isinstance(value, list)
            else value
        )

    return shortened(json.loads(text))
