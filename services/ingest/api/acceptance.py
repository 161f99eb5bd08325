"""Accept emails: store the content, commit all waiting requests in one transaction, respond with
202."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics
from kernel.batch_pacer import BatchPacer
from kernel.content import ContentStore, SealedContent
from kernel.crypto import seal
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.group_commit import GroupCommit
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from kernel.topics import encode
from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.idempotency import AcceptResult, KeyedRequest, concurrent_request, replay
from services.ingest.api.plan_admission import HardQuota, PlanAdmission
from services.ingest.api.sealed_email import (
    AcceptRequest,
    SealedEmail,
    email_row,
    quotas_of,
    record_acceptance,
)
from services.ingest.api.senders import SenderResolver
from services.ingest.domain import accepted_event
from services.ingest.domain.priority import BulkClassifier
from services.ingest.domain.problem import Problem, unavailable
from services.ingest.domain.schedule import ContentRetention
from services.ingest.domain.valid_email import ValidEmail
from services.ingest.store.acceptance import (
    AcceptanceStore,
    AcceptGroup,
    ConcurrentRequest,
    IdempotencyKey,
    IdempotencyRecord,
)
from services.ingest.store.backpressure import Backpressure
from services.ingest.store.quotas import QuotaReservation

LARGE_BYTES = 256 * 1024  # a larger body is committed alone, so that it does not delay others
GROUP_BYTES_MAX = 8 * 1024 * 1024
GROUP_ITEMS_MAX = 200
# Below this rate requests do not linger; no group lingers longer than LINGER_MAX_S.
BUSY_PER_S = 300.0
LINGER_MAX_S = 0.024
# A request that arrives during a commit starts a second group instead of waiting for the first.
COMMIT_GROUPS = 2
NOT_ACCEPTED = "The service is temporarily unavailable; nothing was accepted."

logger = logging.getLogger(__name__)
count = metrics.accepted.labels("api").inc


Respond = Callable[[Sequence[SealedEmail]], bytes]


class Acceptance:
    """Accepts emails for all interfaces. Requests are committed in groups, in order of arrival."""

    def __init__(  # noqa: PLR0913 - the parts of acceptance
        self,
        *,
        access: AccessControl,
        store: AcceptanceStore,
        content: ContentStore,
        outbox: Outbox,
        backpressure: Backpressure,
        kafka: DependencyHealth,
        bulk_classifier: BulkClassifier,
        retention: ContentRetention,
        return_path_key: bytes,
        senders: SenderResolver,
        plans: PlanAdmission,
    ) -> None:
        self.senders = senders
        self._plans = plans
        self._access = access
        self._store = store
        self._content = content
        self._outbox = outbox
        self._backpressure = backpressure
        self._kafka = kafka
        self._bulk_classifier = bulk_classifier
        self._retention = retention
        self._return_path_key = return_path_key
        self._in_flight: set[IdempotencyKey] = set()
        self._pace = BatchPacer(LINGER_MAX_S, busy_per_s=BUSY_PER_S)
        self._commit_groups: list[GroupCommit[AcceptRequest, AcceptResult | Problem]] = [
            GroupCommit(
                self._commit,
                items_max=GROUP_ITEMS_MAX,
                bytes_max=GROUP_BYTES_MAX,
                alone_bytes=LARGE_BYTES,
            )
            for _ in range(COMMIT_GROUPS)
        ]

    def check_may_accept(self, principal: Principal) -> None:
        """Raises Problem if nothing is accepted now: 503 for all tenants, 429 or 403 for this."""
        self._access.check_sending(principal)
        self._plans.check_feature(principal)
        self._backpressure.check(principal.tenant_id)

    async def accept(
        self,
        principal: Principal,
        valid: Sequence[ValidEmail],
        *,
        respond: Respond,
        traceparent: str,
        idempotency: KeyedRequest | None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> AcceptResult:
        """Return when the emails are durable. Raises Problem, and then nothing was accepted.

        before: work that completes the emails; skipped if the request is a repeat.
        """
        self.check_may_accept(principal)
        limits = self._plans.limits_of(principal)
        submit = partial(
            partial(self._submit_admitted, limits) if limits else self._submit,
            principal, valid, respond=respond, traceparent=traceparent,
        )  # fmt: skip
        if idempotency is None:
            if before is not None:
                await before()
            return await submit()
        name = IdempotencyKey(
            principal.tenant_id, principal.test, idempotency.route, idempotency.key
        )
        record = IdempotencyRecord(name, idempotency.fingerprint, b"")
        if name in self._in_flight:
            raise concurrent_request()
        self._in_flight.add(name)
        try:
            if before is not None or limits:  # a repeat is no further use of a quota
                if repeated := await self._find_repeated(record):
                    return repeated
                if before is not None:
                    await before()
            return await submit(key=record)
        finally:
            self._in_flight.discard(name)

    async def _find_repeated(self, key: IdempotencyRecord) -> AcceptResult | None:
        """The response to the first request with this key, if there was one. Raises Problem."""
        try:
            found = (await self._store.find([key.name])).get(key.name)
        except Unavailable as error:
            raise unavailable(NOT_ACCEPTED) from error
        result = replay(key, found) if found is not None else None
        if isinstance(result, Problem):
            raise result
        return result

    async def wait_idle(self) -> None:
        await self._pace.wait_turn()
        for group in self._commit_groups:
            await group.wait_idle()
        await self._backpressure.save_counts()

    async def _submit_admitted(
        self,
        limits: Sequence[HardQuota],
        principal: Principal,
        valid: Sequence[ValidEmail],
        **options: Any,  # noqa: ANN401 - of _submit
    ) -> AcceptResult:
        """Raises Problem 429 beyond a quota."""
        await self._plans.load(limits)
        messages = sum([len(one.recipients) for one in valid])
        with self._plans.admitting(limits, messages) as reserved:
            return await self._submit(principal, valid, reserved=reserved, **options)

    async def _submit(
        self,
        principal: Principal,
        valid: Sequence[ValidEmail],
        *,
        respond: Respond,
        traceparent: str,
        key: IdempotencyRecord | None = None,
        reserved: QuotaReservation | None = None,
    ) -> AcceptResult:
        # Waiting before the work saves CPU time: the work of a whole batch then runs in one go.
        await self._pace.wait_turn()
        emails: list[SealedEmail] = []
        for email in valid:
            if emails:  # let other requests run between the emails of a batch
                await asyncio.sleep(0)
            emails.append(await self._prepare(principal, email, traceparent))
        response = respond(emails)
        if key is not None:
            key = IdempotencyRecord(key.name, key.fingerprint, response)
        accept_request = AcceptRequest(emails, response, key, reserved)
        size = sum([email.size for email in emails])
        try:
            result = await self._choose_group().submit(accept_request, size=size)
        except Unavailable as error:
            raise unavailable(NOT_ACCEPTED) from error
        except ConcurrentRequest:
            raise concurrent_request() from None
        if isinstance(result, Problem):
            raise result
        return result

    def _choose_group(self) -> GroupCommit[AcceptRequest, AcceptResult | Problem]:
        """The deepest group with waiting requests, which keeps groups large; else an idle one."""
        by_depth = {group.depth: group for group in reversed(self._commit_groups)}
        deepest = max(by_depth)
        return by_depth[deepest] if deepest > 1 else by_depth[min(by_depth)]

    async def _prepare(
        self, principal: Principal, email: ValidEmail, traceparent: str
    ) -> SealedEmail:
        domain = await self.senders.domain_of(principal, email)
        now = clock.now()
        email_id = uuid7_text()
        message_ids = [uuid7_text() for _ in email.recipients]
        due = email.due_at or now
        origin = accepted_event.MessageOrigin(
            principal.key,
            principal.tenant,
            domain,
            self._return_path_key,
            traceparent,
            principal.mailbox,
        )
        priority = self._bulk_classifier.classify(
            principal.tenant_id, email.stream, messages=len(message_ids), now_s=clock.monotonic_s()
        )
        first = accepted_event.message_accepted(
            email,
            accepted_event.EmailIds(email_id, message_ids),
            origin,
            priority=priority,
            times=accepted_event.MessageTimes(now, due, due + self._retention.message),
        )
        sealed = await self._seal(principal, email, email_id=email_id, now=now)
        retention = self._retention.retention_of(now, scheduled=email.due_at is not None)
        recipients = list(zip(message_ids, email.recipients, strict=True))
        return SealedEmail(SealedContent(sealed, *retention), first, recipients, email.due_at)

    async def _seal(
        self, principal: Principal, email: ValidEmail, *, email_id: str, now: datetime
    ) -> bytes:
        content = email.content
        content.email_id = email_id
        content.date_s = int(now.timestamp())
        content.single_recipient = len(email.recipients) == 1
        key = self._access.content_key(principal)
        associated = f"{principal.tenant_id}/{email_id}".encode()
        plain = content.SerializeToString()
        if len(plain) > LARGE_BYTES:
            return await asyncio.to_thread(seal, key, plain, associated)
        return seal(key, plain, associated)

    async def _commit(self, group: Sequence[AcceptRequest]) -> list[AcceptResult | Problem]:
        self._pace.start_batch(len(group))
        replays = await self._find_replays(group)
        results = [replays.get(index) for index in range(len(group))]
        new = [one for one, result in zip(group, results, strict=True) if result is None]
        if new:
            await self._write(new)
        return [
            found or AcceptResult(one.response) for one, found in zip(group, results, strict=True)
        ]

    async def _find_replays(
        self, group: Sequence[AcceptRequest]
    ) -> dict[int, AcceptResult | Problem]:
        """Results of repeated requests, by their index in the group."""
        keyed = {index: one.key for index, one in enumerate(group) if one.key is not None}
        if not keyed:
            return {}
        found = await self._store.find([row.name for row in keyed.values()])
        return {
            index: replay(row, found[row.name]) for index, row in keyed.items() if row.name in found
        }

    async def _write(self, group: Sequence[AcceptRequest]) -> None:
        emails = [email for one in group for email in one.emails]
        references = await self._content.put_many([email.body for email in emails])
        for email, reference in zip(emails, references, strict=True):
            email.first.context.content_ref = reference
            email.first.context.content_bytes = len(email.body.sealed)
        failpoint("ingest.content_synced")
        for email in emails:
            record_acceptance(email)
        records = (record for one in group for record in self._records(one))
        rows = [email_row(email) for email in emails]
        keys = [one.key for one in group if one.key is not None]
        entry, used = await self._store.write(AcceptGroup(keys, rows, records, quotas_of(group)))
        if used:
            self._plans.usage.record(used, [one.reserved for one in group if one.reserved])
        failpoint("ingest.accept.committed")
        self._outbox.publish_in_background(entry, self._kafka)
        messages = sum([len(email.recipients) for email in emails])
        count(messages)
        for email in emails:
            self._backpressure.add_accepted(email.first.context.tenant_id, email.body)
        ids = [email.email_id for email in emails]
        logger.info("emails.accepted", extra={"emails": ids, "messages": messages})

    def _records(self, one: AcceptRequest) -> Iterable[Outgoing]:
        now = clock.now()
        for email in one.emails:
            trace = email.first.context.traceparent
            messages = accepted_event.events_for_recipients(
                email.first, email.recipients, self._return_path_key
            )
            for message in messages:
                yield encode(message, now, trace)
