"""The figures of mail, for REST and gRPC. The events service counts them."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any, NamedTuple

from contracts.events.v1.events_service_pb2 import (
    GetMetricsRequest,
    GetMetricsResponse,
    MetricsFilter,
)
from kernel.csv_rows import guarded
from services.ingest.api.administration.directory import DirectoryResource
from services.ingest.api.callers import Caller, check_live
from services.ingest.clients import ServiceClients
from services.ingest.store.directory_lists import EntryOwner

DOMAIN, DOMAIN_ID, DOMAIN_NAME = "domain", "domain_id", "domain_name"
# The filters: of each, one of the values.
FILTERS = (
    "tenant_id", "domain_id", "email_id", "key_id", "stream", "site", "ip_id", "tag",
    "bounce_class", "recipient_domain", "pool_id",
)  # fmt: skip
COUNTS_DEADLINE_S = 10.0


class MetricsTable(NamedTuple):
    """domains: names by id."""

    found: GetMetricsResponse
    domains: Mapping[str, str]

    def rows(self) -> Iterable[tuple[dict[str, str | None], Sequence[float]]]:
        """The keys and the values of each row; a key without a value is None."""
        for row in self.found.data:
            keys: dict[str, str | None] = {}
            for name, value in zip(self.found.keys, row.keys, strict=True):
                keys[name] = value or None
                if name == DOMAIN_ID:
                    keys[DOMAIN_NAME] = self.domains.get(value)
            yield keys, row.values


class MetricsResource:
    def __init__(self, clients: ServiceClients, directory: DirectoryResource) -> None:
        self._events = clients.events
        self._directory = directory

    async def get(self, caller: Caller, **fields: Any) -> MetricsTable:  # noqa: ANN401 - a protobuf's
        """Of a tenant, of all tenants of an account, or for an operator of all accounts. fields: of
        GetMetricsRequest; filters by their names. Raises Problem."""
        check_live(caller.key, "metrics")
        filters = [
            MetricsFilter(name=name, values=values)
            for name in FILTERS
            if (values := fields.pop(name, ()))
        ]
        request = GetMetricsRequest(
            **caller.owner._asdict(),
            all_accounts=caller.owner == EntryOwner(),
            filters=filters,
            **fields,
        )
        stub = self._events.stub
        found = await self._events.call(stub.GetMetrics, request, deadline_s=COUNTS_DEADLINE_S)
        ids = {
            value
            for row in found.data
            for name, value in zip(found.keys, row.keys, strict=True)
            if name == DOMAIN_ID and value
        }
        return MetricsTable(found, await self._names(caller, sorted(ids)))

    async def _names(self, caller: Caller, domain_ids: Sequence[str]) -> dict[str, str]:
        """Of domains that the caller sees."""
        if not domain_ids:
            return {}
        return await self._directory.domain_names(caller.owner, domain_ids)


def metrics_to_json(metrics: MetricsTable) -> dict[str, object]:
    """In Resend's form: no data without dimensions."""
    found = metrics.found
    shown: dict[str, object] = {
        "object": "metrics",
        "start_date": found.start_date,
        "end_date": found.end_date,
        "timezone": found.timezone,
        "by": found.by,
        "metrics": list(found.metrics),
        "dimensions": list(found.dimensions),
        "granularity": found.granularity,
        "totals": values_to_json(found.metrics, found.totals),
    }
    if found.dimensions:
        shown["data"] = [
            {**keys, **values_to_json(found.metrics, values)} for keys, values in metrics.rows()
        ]
    return shown


def values_to_json(names: Sequence[str], values: Sequence[float]) -> dict[str, int | float | None]:
    return {name: number_of(value) for name, value in zip(names, values, strict=True)}


def number_of(value: float) -> int | float | None:
    """None for NaN; counts without a fraction."""
    if isnan(value):
        return None
    return int(value) if value.is_integer() else value


def metrics_to_csv(metrics: MetricsTable) -> str:
    """One line for each row; without dimensions, one of the totals (RFC 4180)."""
    found, text = metrics.found, io.StringIO()
    writer = csv.writer(text)
    rows = list(metrics.rows()) if found.dimensions else [({}, found.totals)]
    names = [name for key in found.keys for name in columns_of(key)]
    writer.writerow([*names, *found.metrics])
    for keys, values in rows:
        texts = [guarded(keys[name] or "") for name in names]
        numbers = ["" if isnan(one) else number_of(one) for one in values]
        writer.writerow([*texts, *numbers])
    return text.getvalue()


def columns_of(key: str) -> list[str]:
    return [DOMAIN_ID, DOMAIN_NAME] if key == DOMAIN_ID else [key]
