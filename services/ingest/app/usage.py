"""Wires the counts of what accounts have, and the export of usage."""

import random
from collections.abc import Mapping
from datetime import date

from contracts.events.v1.events_service_pb2 import GetUsageRequest
from kernel.health import DependencyHealth
from kernel.service import Loop, create_loops
from services.ingest.app.dependencies import Dependencies
from services.ingest.loops.resource_counts import ResourceCountRecorder
from services.ingest.loops.usage_exports import UsageExporter

COUNT_INTERVAL_S = 600.0
DEADLINE_S = 10.0


def create_usage_loops(deps: Dependencies) -> list[Loop]:
    counting = ResourceCountRecorder(deps.lease)
    loops = create_loops([(COUNT_INTERVAL_S, counting.run_once)], DependencyHealth())
    if deps.billing is None:
        return loops

    async def sends_of(account_id: str, month: date) -> Mapping[date, int]:
        request = GetUsageRequest(account_id=account_id, month=f"{month:%Y-%m}", by="day")
        method = deps.clients.events.stub.GetUsage
        found = await deps.clients.events.call(method, request, deadline_s=DEADLINE_S)
        return {date.fromisoformat(one.key): one.sent for one in found.rows}

    exporter = UsageExporter(deps.lease, deps.billing, sends_of)
    interval_s = deps.settings.usage_export_interval_s * random.uniform(0.9, 1.0)  # not all at once
    return [*loops, *create_loops([(interval_s, exporter.run_once)], DependencyHealth())]
