"""Schemas of Kubernetes and of the operators; strict: members that they do not name are errors."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from tests.support.k8s.manifests import Manifest, name_of
from tests.support.k8s.tools import CRDS, SCHEMAS, SHARED_CRDS

DEFINITIONS = "_definitions.json"
KUBERNETES = "x-kubernetes-"
NOT_JSON_SCHEMA = ("format", "nullable", "properties")


def schema_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    for one in manifests:
        validator = _validator(one["apiVersion"], one["kind"])
        if validator is None:
            yield f"{name_of(one)}: no schema of {one['apiVersion']} is known"
            continue
        for error in validator.iter_errors(one):
            at = "/".join(map(str, error.instance_path))
            yield f"{name_of(one)}: {at}: {error.message[:300]}"


@cache
def _validator(version: str, kind: str) -> Any:  # noqa: ANN401 - of jsonschema_rs
    """None if there is none."""
    if (schema := _custom_schemas().get((version, kind))) is not None:
        return jsonschema_rs.validator_for(schema)
    group, _, number = version.rpartition("/")
    parts = (kind, group.removesuffix(".k8s.io").partition(".")[0], number)
    path = SCHEMAS / f"{'-'.join(filter(None, parts)).lower()}.json"
    if not path.exists():
        return None
    schema = json.loads(path.read_text().replace(f"/api/{DEFINITIONS}", f"k8s:/{DEFINITIONS}"))
    return jsonschema_rs.Draft7Validator(schema, registry=_definitions())


@cache
def _definitions() -> jsonschema_rs.Registry:
    text = (SCHEMAS / DEFINITIONS).read_text().replace(f"/api/{DEFINITIONS}", f"k8s:/{DEFINITIONS}")
    schema = {**json.loads(text), "$id": f"k8s:/{DEFINITIONS}"}
    return jsonschema_rs.Registry([(f"k8s:/{DEFINITIONS}", schema)])


@cache
def _custom_schemas() -> dict[tuple[str, str], Manifest]:
    paths = [*sorted(CRDS.glob("*.yaml")), *sorted(SHARED_CRDS.glob("*.yaml"))]
    return dict(found for path in paths for found in _schemas_of(path))


def _schemas_of(path: Path) -> Iterator[tuple[tuple[str, str], Manifest]]:
    """The schemas of a file's definitions, by version and kind."""
    for crd in yaml.load_all(path.read_text(), yaml.CSafeLoader):
        if not crd or crd["kind"] != "CustomResourceDefinition":
            continue
        for version in crd["spec"]["versions"]:
            if schema := version.get("schema", {}).get("openAPIV3Schema"):
                schema["properties"]["metadata"] = {f"{KUBERNETES}preserve-unknown-fields": True}
                name = f"{crd['spec']['group']}/{version['name']}"
                yield (name, crd["spec"]["names"]["kind"]), _strict(schema)


def _strict(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """As a server that refuses unknown fields reads an OpenAPI schema."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(one) for name, one in schema.items() if name not in NOT_JSON_SCHEMA}
    if "properties" in schema:  # their names may be those of keywords
        made["properties"] = {name: _strict(one) for name, one in schema["properties"].items()}
        if schema.get("type") == "object" and not schema.get(
            f"{KUBERNETES}preserve-unknown-fields"
        ):
            made.setdefault("additionalProperties", False)
    if schema.get(f"{KUBERNETES}int-or-string"):
        made["type"] = ["integer", "string"]
    elif schema.get("nullable"):
        made["type"] = [schema["type"], "null"]
    return made
