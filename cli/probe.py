"""`obm probe`: a canary through each pool every minute, and the time until it is delivered."""

import asyncio
import logging
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from cli.api import DEFAULT_URL, Api, Credentials
from kernel import clock, metrics
from kernel.errors import ConfigError
from kernel.health import DependencyHealth
from kernel.service import Service, start_service
from kernel.settings import ProcessSettings

FIELDS = {"key", "from", "to"}
DELIVERED = "delivered"
# Nothing follows these. What waits may still be delivered.
ENDED = {"bounced", "failed", "suppressed", "canceled", "held"}

logger = logging.getLogger(__name__)


class Settings(ProcessSettings):
    """probe: sends canaries by the API, and waits until they are delivered."""

    model_config = SettingsConfigDict(
        env_prefix="PROBE_", extra="forbid", populate_by_name=True, validate_default=True
    )

    api_url: str = Field(DEFAULT_URL, validation_alias="OBM_API_URL", description="URL of the API")
    file: str = Field(
        "",
        description="TOML file with a table for each canary: key (of a tenant that sends through"
        " the pool), from, to",
    )
    interval_s: float = Field(60.0, gt=0, description="Interval between canaries")
    timeout_s: float = Field(
        60.0, gt=0, description="Time after which a canary that is not delivered is missed"
    )
    poll_interval_s: float = Field(0.5, gt=0, description="Interval between looks at its state")


class Canary(NamedTuple):
    """name: of its table, in metrics; such as that of its pool."""

    name: str
    key: str
    sender: str
    to: str


class Caller(Protocol):
    """An API with a key."""

    def get(self, path: str) -> dict[str, Any]: ...

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]: ...


def probe() -> None:
    """Send a canary through each pool every minute, and measure until it is delivered.

    \b
    canaries.toml has a table for each:
      [default]
      key = "obm_live_…"
      from = "canary@shop.example.net"
      to = "canary@inbox.example.org"

    \b
    PROBE_FILE=canaries.toml PROBE_HEALTH_LISTEN=127.0.0.1:8047 obm probe

    \b
    Other settings, from the environment:
      OBM_API_URL                    URL of the API [http://127.0.0.1:8025/v1]
      PROBE_INTERVAL_S               between canaries [60]
      PROBE_TIMEOUT_S                after which one is missed [60]

    See docs/running-it.md.
    """
    start_service("probe", Settings, create_service, argv=[])


def create_service(settings: Settings) -> Service:
    """Inside the running loop. Raises ConfigError."""
    canaries = read_canaries(settings.file)
    return Service(
        "probe",
        loops=[partial(keep_probing, one, settings) for one in canaries],
        close=_close,
        health=DependencyHealth(),
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


async def _close() -> None:
    """Nothing is left to close."""


def read_canaries(file: str) -> list[Canary]:
    """Raises ConfigError."""
    try:
        tables = tomllib.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read PROBE_FILE {file!r}: {error}.") from error
    if not tables:
        raise ConfigError(f"PROBE_FILE {file!r} has no canary.")
    return [_canary_of(name, table) for name, table in tables.items()]


def _canary_of(name: str, table: object) -> Canary:
    texts = table if isinstance(table, dict) else {}
    if texts.keys() != FIELDS or not all(isinstance(one, str) for one in texts.values()):
        raise ConfigError(f"The canary {name} of PROBE_FILE needs the texts key, from and to.")
    return Canary(name, texts["key"], texts["from"], texts["to"])


async def keep_probing(canary: Canary, settings: Settings) -> None:
    """A loop."""
    api = Api(Credentials(settings.api_url.rstrip("/"), canary.key, "PROBE_FILE"))
    missed = metrics.probe_missed_in_a_row.labels(canary.name)
    missed.set(0)
    metrics.probe_delivered_at.labels(canary.name).set(0)
    while True:
        began_s = clock.monotonic_s()
        if await send(api, canary, settings):
            missed.set(0)
        else:
            missed.inc()
        took_s = clock.monotonic_s() - began_s
        await asyncio.sleep(max(0.0, settings.interval_s - took_s))


async def send(api: Caller, canary: Canary, settings: Settings) -> bool:
    """Send one, and wait; whether it was delivered in time."""
    began_s = clock.monotonic_s()
    try:
        async with asyncio.timeout(settings.timeout_s):
            outcome = await _await_outcome(api, canary, settings.poll_interval_s)
    except TimeoutError:
        outcome = "late"
    except ConfigError as error:  # the API refuses, or is away
        outcome = str(error)
    is_delivered = outcome == DELIVERED
    metrics.probe_canaries.labels(canary.name, DELIVERED if is_delivered else "missed").inc()
    if is_delivered:
        metrics.probe_duration.labels(canary.name).observe(clock.monotonic_s() - began_s)
        metrics.probe_delivered_at.labels(canary.name).set(clock.now().timestamp())
    else:
        logger.warning("probe.missed", extra={"canary": canary.name, "outcome": outcome})
    return is_delivered


async def _await_outcome(api: Caller, canary: Canary, pause_s: float) -> str:
    """The last event of an email, once nothing else follows. Raises ConfigError."""
    body = {
        "from": canary.sender, "to": [canary.to], "subject": "Canary",
        "text": f"A canary of {canary.name}, to see that mail is delivered.",
    }  # fmt: skip
    made = await in_thread(lambda: api.post("/emails", body))
    while True:
        found = await in_thread(lambda: api.get(f"/emails/{made['id']}"))
        if found["last_event"] in {DELIVERED, *ENDED}:
            return str(found["last_event"])
        await asyncio.sleep(pause_s)


async def in_thread(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A call that blocks."""
    return await asyncio.to_thread(call)
