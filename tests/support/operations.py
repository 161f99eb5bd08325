"""The operations of the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

import httpx

JSON = "application/json"


def operations_of(kind: str, http: httpx.Client) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each that admits this kind of caller, except for streams,
    which have their own tests: they never end."""
    document = http.get(str(http.base_url.join("/openapi.json"))).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            admits = any(f"{kind}Key" in one for one in operation["security"])
            if admits and not is_stream(operation):
                yield method, path, operation


def is_stream(operation: dict[str, Any]) -> bool:
    return any(
        "text/event-stream" in one.get("content", {}) for one in operation["responses"].values()
    )


def path_parameters(operation: dict[str, Any]) -> list[str]:
    return [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]


def example_of(operation: dict[str, Any]) -> object:
    """A valid body; None if the operation has none."""
    return operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("example")
