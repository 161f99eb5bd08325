"""What `obm probe` knows of its canaries, from its metrics."""

import asyncio
from collections import defaultdict
from http.client import HTTPException
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from services.ingest.domain.health_checks import CanaryStatus

TIMEOUT_S = 5.0
MISSED, DELIVERED_AT = "obm_probe_missed_in_a_row", "obm_probe_delivered_timestamp_seconds"


async def read_canaries(url: str) -> list[CanaryStatus]:
    """By name. Raises OSError if the probe does not respond, ValueError if it sends no metrics."""
    text = await asyncio.to_thread(_read, url)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        if family.name in (MISSED, DELIVERED_AT):
            for sample in family.samples:
                found[sample.labels.get("canary", "")][family.name] = sample.value
    return [
        CanaryStatus(name, of.get(MISSED, 0.0), of.get(DELIVERED_AT, 0.0))
        for name, of in sorted(found.items())
    ]


def _read(url: str) -> str:
    try:
        with urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 - a setting of the operator
            return bytes(response.read()).decode()
    except HTTPException as error:
        raise ValueError(f"no HTTP: {error!r}") from error
