"""Webhook deliveries: claim by lease, commit, POST, record the result while the claim holds."""

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from opentelemetry.trace import SpanKind

from kernel import clock, metrics
from kernel.addresses import AddressRefused
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.errors import ConfigError, Unavailable
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from kernel.retry import retry_while_unavailable
from kernel.telemetry import record_span
from services.events.clients import WebhookClient
from services.events.clients.brands import TenantBrands
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.request_headers import decode_headers, svix_names
from services.events.domain.schedule import (
    CIRCUIT_FAILURES,
    GONE,
    EndpointResponse,
    next_delay_s,
)
from services.events.domain.signature import signature_headers
from services.events.domain.webhook_attempt import WebhookAttempt
from services.events.domain.webhook_attempt_record import WebhookAttemptRecord
from services.events.loops.claimed_deliveries import load_attempts
from services.events.loops.endpoint_queue import QUEUE_MAX, EndpointQueue
from services.events.loops.webhook_attempt_recorder import (
    WebhookAttemptRecorder,
    WebhookAttemptResult,
)
from services.events.store import webhook_deliveries
from services.events.store.webhook_deliveries import (
    WebhookDeliveryClaim,
    WebhookDeliveryUpdate,
)

LEASE_MARGIN_S = 5.0
FAILURES_MIN_AGE_S = 2.0  # a recent failure may not be in the database yet
DRAIN_TIMEOUT_S = 5.0

ATTEMPTS = {
    name: metrics.webhook_attempts.labels(name) for name in ("delivered", "refused", "failed")
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """concurrency: of this process for one endpoint; it may change."""

    schedule_s: Sequence[float]
    concurrency: Callable[[], int]
    timeout_s: float
    probe_s: float
    poll_s: float
    lease_s: float
    notify: bool


class WebhookDispatcher:
    """The deliveries of this process. Handlers use `enqueue` and `capacity`; `run` is the loop."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        client: WebhookClient,
        brands: TenantBrands,
        secrets: SecretKeyring,
        health: DependencyHealth,
        config: WebhookConfig,
    ) -> None:
        self._database = database
        self._client = client
        self._brands = brands
        self._secrets = secrets
        self._health = health
        self._config = config
        self._failures: dict[str, int] = {}  # consecutive failures in the database
        self._recorder = WebhookAttemptRecorder(
            database,
            outbox,
            health=health,
            probe_s=config.probe_s,
            notify=config.notify,
            on_failures_counted=self._failures.update,
        )
        self._queues: dict[str, EndpointQueue] = {}
        self._failed_at_s: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._stopping = False

    def capacity(self, endpoint: WebhookEndpoint) -> int:
        """How many more attempts the queue of the endpoint admits now."""
        self._cache_failures(endpoint)
        if self._stopping or self._is_broken(endpoint.id):
            return 0
        queue = self._queues.get(endpoint.id)
        return queue.capacity if queue else queue_capacity(self._config)

    def _busy_capacities(self) -> dict[str, int]:
        """The capacities of endpoints that are busy or have unwritten failures."""
        capacities = {one: queue.capacity for one, queue in self._queues.items()}
        return capacities | {
            one: 0 for one in self._recorder.unwritten_failures if self._is_broken(one)
        }

    def _is_broken(self, endpoint_id: str) -> bool:
        failures = (
            self._failures.get(endpoint_id, 0) + self._recorder.unwritten_failures[endpoint_id]
        )
        return failures >= CIRCUIT_FAILURES

    def _cache_failures(self, endpoint: WebhookEndpoint) -> None:
        """Cache the failures that were just read; a recent failure may be missing from them."""
        if endpoint.failures:
            self._failures[endpoint.id] = endpoint.failures
        elif clock.monotonic_s() - self._failed_at_s.get(endpoint.id, 0.0) > FAILURES_MIN_AGE_S:
            self._failures.pop(endpoint.id, None)
            self._failed_at_s.pop(endpoint.id, None)

    def enqueue(self, attempts: Sequence[WebhookAttempt]) -> None:
        """Queue attempts whose claims are committed. If there are none, deliveries may be due."""
        if not attempts:
            self.wake()
            return
        failpoint("events.webhook.claimed")
        by_endpoint: dict[str, list[WebhookAttempt]] = defaultdict(list)
        for attempt in attempts:
            by_endpoint[attempt.endpoint.id].append(attempt)
        for endpoint_id, some in by_endpoint.items():
            self._queue_of(endpoint_id).enqueue(some)

    def wake(self) -> None:
        self._wake.set()

    def _queue_of(self, endpoint_id: str) -> EndpointQueue:
        if endpoint_id not in self._queues:
            usable_s = self._config.lease_s - self._config.timeout_s - LEASE_MARGIN_S
            self._queues[endpoint_id] = EndpointQueue(
                self._attempt,
                self._release_claims,
                concurrency=self._config.concurrency,
                lease_s=max(1.0, usable_s),
            )
        return self._queues[endpoint_id]

    async def run(self) -> None:
        """Claim due deliveries, at once when some were added, and otherwise at an interval."""
        while True:
            claimed = await retry_while_unavailable(self._claim_due, self._health)
            for one in [one for one, queue in self._queues.items() if queue.is_idle]:
                del self._queues[one]
            if not claimed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.poll_s):
                        await self._wake.wait()
            self._wake.clear()

    async def measure_backlog(self) -> None:
        """The action of a loop."""
        async with self._database.transaction() as tx:
            metrics.webhook_backlog_age.set(await webhook_deliveries.backlog_age_s(tx))

    async def drain(self) -> None:
        self._stopping = True
        await asyncio.gather(*(queue.drain() for queue in self._queues.values()))
        await self._recorder.wait_idle(within_s=DRAIN_TIMEOUT_S)

    async def _claim_due(self) -> int:
        if self._stopping:
            return 0
        token = str(uuid4())
        async with self._database.transaction() as tx:
            claimed = await webhook_deliveries.claim_due(
                tx,
                token,
                capacities=self._busy_capacities(),
                capacity=queue_capacity(self._config),
                lease_s=self._config.lease_s,
            )
            attempts = await load_attempts(tx, claimed, token=token) if claimed else []
        for delivery in claimed:
            self._cache_failures(delivery.endpoint)
        if attempts:
            self.enqueue(attempts)
        return len(claimed)

    async def _attempt(self, attempt: WebhookAttempt) -> bool:
        """Send one POST; returns False when no more should follow for now."""
        endpoint = attempt.endpoint
        brand_of = self._brands.of_account if endpoint.account_wide else self._brands.of
        brand = await brand_of(endpoint.owner_id)
        identifier, started_at_s, began_ns = uuid7_text(), clock.monotonic_s(), time.time_ns()
        try:
            signed = signature_headers(
                [self._secrets.decrypt(one) for one in endpoint.secrets],
                attempt.id,
                timestamp=clock.now_ms() // 1000,
                body=attempt.body,
            )
            headers = self._with_own_headers(endpoint, signed)
            response = await self._client.post(
                endpoint.url, attempt.body, headers=headers, user_agent=brand.user_agent
            )
        except ConfigError as error:
            response = EndpointResponse(0, str(error))
        failpoint("events.webhook.posted")
        record_attempt_span(attempt, response, began_ns=began_ns)
        self._record_metrics(endpoint, response)
        record = WebhookAttemptRecord(
            identifier,
            response.status,
            round((clock.monotonic_s() - started_at_s) * 1000),
            response.body,
            "" if response.status else response.error,
        )
        update = self._update_for(attempt, response, record=record.encode())
        self._recorder.add(WebhookAttemptResult(attempt, response, update))
        return response.is_success or not self._is_broken(endpoint.id)

    def _with_own_headers(
        self, endpoint: WebhookEndpoint, signed: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Raises ConfigError."""
        if not endpoint.svix_headers and endpoint.headers is None:
            return signed
        own = decode_headers(self._secrets.decrypt(endpoint.headers)) if endpoint.headers else {}
        return {**own, **signed, **(svix_names(signed) if endpoint.svix_headers else {})}

    async def _release_claims(self, attempts: Sequence[WebhookAttempt]) -> None:
        """Release the claims of attempts that are not made for now."""
        claims = [
            WebhookDeliveryClaim(attempt.endpoint.id, attempt.position, attempt.token)
            for attempt in attempts
        ]
        with suppress(Unavailable):  # then their leases expire by themselves
            async with self._database.transaction() as tx:
                await webhook_deliveries.release_claims(tx, claims, delay_s=0.0)

    def _record_metrics(self, endpoint: WebhookEndpoint, response: EndpointResponse) -> None:
        ATTEMPTS[metric_outcome(response)].inc()
        if response.is_success:
            self._failures.pop(endpoint.id, None)
            self._failed_at_s.pop(endpoint.id, None)
            return
        self._failed_at_s[endpoint.id] = clock.monotonic_s()
        logger.info(
            "webhook.attempt.failed",
            extra={"endpoint_id": endpoint.id, "status": response.status, "error": response.error},
        )

    def _update_for(
        self, attempt: WebhookAttempt, response: EndpointResponse, *, record: str
    ) -> WebhookDeliveryUpdate:
        attempt_count = attempt.attempt_count + 1
        state, delay_s = webhook_deliveries.DELIVERED, 0.0
        if not response.is_success:
            next_s = next_delay_s(
                self._config.schedule_s,
                attempt_count,
                retry_after_s=response.retry_after_s,
                chance=random.random(),
            )
            state, delay_s = webhook_deliveries.QUEUED, next_s or 0.0
            if next_s is None or response.status == GONE:
                state, delay_s = webhook_deliveries.FAILED, 0.0
        return WebhookDeliveryUpdate(
            attempt.endpoint.id,
            attempt.position,
            attempt.token,
            state,
            delay_s,
            attempt_count,
            response.status,
            response.error,
            record,
        )


def record_attempt_span(
    attempt: WebhookAttempt, response: EndpointResponse, *, began_ns: int
) -> None:
    record_span(
        "webhook.attempt",
        attempt.traceparent.encode(),
        began_ns=began_ns,
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": "POST", "http.response.status_code": response.status},
    )


def metric_outcome(response: EndpointResponse) -> str:
    """The label of an attempt in metrics."""
    if response.is_success:
        return "delivered"
    return "refused" if response.error.startswith(AddressRefused.__name__) else "failed"


def queue_capacity(config: WebhookConfig) -> int:
    """The capacity of an idle endpoint: about as many attempts as fit into a lease."""
    return min(QUEUE_MAX, config.concurrency() * 50)
