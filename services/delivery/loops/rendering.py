"""Renders messages: reads content in batches, composes each email once, signs together."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from google.protobuf.message import DecodeError

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.bounded_dict import BoundedDict
from kernel.content import ContentNotFound, ContentStore, ReadResult
from kernel.crypto import SealBroken, unseal
from kernel.errors import Unavailable
from kernel.group_commit import GroupCommit
from mail.dkim import Signer
from services.delivery.clients.rendering_keys import RenderingKeys
from services.delivery.domain.attempt_result import AttemptResult, local_refusal
from services.delivery.domain.rendering import (
    ComposedEmail,
    EmailDraft,
    UnsignedMessage,
    WireMessage,
    compose_email,
    draft_email,
    prepare_message,
    sign_messages,
)
from services.delivery.loops.congestion import WorkerCongestion

COMPOSED_MAX = 256  # emails that are cached, for their other recipients
COMPOSED_BYTES_MAX = 256 * 1024  # a larger email is not cached
INLINE_BYTES_MAX = 256 * 1024  # larger content is rendered alone, in a thread
RENDER_BYTES_MAX = 4 * 1024 * 1024  # of content, in one batch
# While there is a little express mail, bulk mail leaves it room: after each slice it rests for this
# many times the time that the slice took.
REST = 2.0
SLICE = 4  # messages rendered before the event loop runs again: some 3 ms

# A temporary failure of this message alone, such as a 4yz reply.
CONTENT_UNAVAILABLE = AttemptResult(problem="the content cannot be read at the moment")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One message to render. composed: its email, if that is composed already. tracking_key: signs
    the tokens in its links. feedback_field: its Feedback-ID. feedback_signer: of the domain that
    also signs it."""

    key: "_EmailKey"
    context: MessageContext
    content_key: bytes
    signer: Signer
    sealed: bytes
    composed: ComposedEmail | None
    tracking_key: bytes = b""
    feedback_field: bytes = b""
    feedback_signer: Signer | None = None


# The tenant is part of the key: a composed email must never be used for another tenant.
_EmailKey = tuple[str, str, str]
_ComposedEmails = dict[_EmailKey, ComposedEmail]
_Jobs = Sequence[RenderJob | AttemptResult]
_Rendered = tuple[list[WireMessage | AttemptResult], _ComposedEmails]
RenderGroup = GroupCommit[DeliveryAssigned, WireMessage | AttemptResult]


class Renderer:
    """Renders messages as they arrive: requests during one batch form the next.

    It works on the event loop, not in threads: cryptography (50.0) holds the interpreter lock while
    it signs, so threads cost more than they gain. Run more processes to use more processors.
    """

    def __init__(self, store: ContentStore, keys: RenderingKeys) -> None:
        self._store = store
        self._keys = keys
        self._composed_emails: _ComposedEmails = BoundedDict(COMPOSED_MAX)
        # By whether the mail is bulk. Both run side by side: hundreds of messages of a newsletter
        # may wait in one.
        self._inline = {
            is_bulk: RenderGroup(self._render, items_max=64, bytes_max=RENDER_BYTES_MAX)
            for is_bulk in (False, True)
        }
        self.congestion = WorkerCongestion()
        self._read_s = 0.0  # that bulk mail has waited for the store in all
        self._threaded = {
            is_bulk: RenderGroup(self._render_in_thread, items_max=1) for is_bulk in (False, True)
        }

    async def render(self, assignment: DeliveryAssigned) -> WireMessage | AttemptResult:
        """Render a message; an AttemptResult is the reason why it cannot be rendered.

        Raises Unavailable when the store is unavailable, or the directory has no record of the
        tenant or the domain yet.
        """
        context = assignment.context
        self._keys.check(context)
        size = context.content_bytes
        groups = self._inline if size <= INLINE_BYTES_MAX else self._threaded
        if context.priority != PRIORITY_BULK:
            self.congestion.record_express()
            return await groups[False].submit(assignment, size=size)
        began_s, read_s = clock.monotonic_s(), self._read_s
        message = await groups[True].submit(assignment, size=size)
        # A store that takes its time keeps no processor from express mail.
        read_s = self._read_s - read_s
        self.congestion.record_bulk_wait(clock.monotonic_s() - began_s - read_s)
        return message

    def _rest_s(self, took_s: float) -> float:
        return REST * took_s if self.congestion.is_express_sparse else 0.0

    async def _render(
        self, assignments: Sequence[DeliveryAssigned]
    ) -> list[WireMessage | AttemptResult]:
        keys = [_email_key(one.context) for one in assignments]
        cached = {key: self._composed_emails[key] for key in keys if key in self._composed_emails}
        is_bulk = assignments[0].context.priority == PRIORITY_BULK
        sealed = await self._read_contents(
            [key for key in keys if key not in cached], is_bulk=is_bulk
        )
        rendered: list[WireMessage | AttemptResult] = []
        took_s = 0.0
        for start in range(0, len(keys), SLICE):
            if start:
                await asyncio.sleep(self._rest_s(took_s) if is_bulk else 0)
            began_s = clock.monotonic_s()
            end = start + SLICE
            part = zip(assignments[start:end], keys[start:end], strict=True)
            jobs = [
                self._create_job(one, key, sealed.get(key), composed=cached.get(key))
                for one, key in part
            ]
            messages, composed_emails = render_all(jobs, clock.now())
            rendered += messages
            cached |= composed_emails
            self._cache(composed_emails)
            took_s = clock.monotonic_s() - began_s
        return rendered

    async def _render_in_thread(
        self, assignments: Sequence[DeliveryAssigned]
    ) -> list[WireMessage | AttemptResult]:
        """Render in a thread: most work on large content releases the interpreter lock."""
        keys = [_email_key(one.context) for one in assignments]
        is_bulk = assignments[0].context.priority == PRIORITY_BULK
        sealed = await self._read_contents(keys, is_bulk=is_bulk)
        pairs = zip(assignments, keys, strict=True)
        jobs = [self._create_job(one, key, sealed[key], composed=None) for one, key in pairs]
        rendered, _ = await asyncio.to_thread(render_all, jobs, clock.now())
        return rendered

    async def _read_contents(
        self, keys: Sequence[_EmailKey], *, is_bulk: bool
    ) -> dict[_EmailKey, ReadResult]:
        refs = {key: key[-1] for key in keys}
        if not refs:
            return {}
        began_s = clock.monotonic_s()
        found = await self._store.get_many(list(refs.values()))
        if is_bulk:
            self._read_s += clock.monotonic_s() - began_s
        return dict(zip(refs, found, strict=True))

    def _create_job(
        self,
        assignment: DeliveryAssigned,
        key: _EmailKey,
        sealed: ReadResult | None,
        *,
        composed: ComposedEmail | None,
    ) -> RenderJob | AttemptResult:
        context, keys = assignment.context, self._keys
        content_key = keys.content_key(context.tenant_id)
        signer = keys.signer(context.domain_id)
        if content_key is None:
            return local_refusal("content_unavailable", "the tenant no longer exists")
        if signer is None:
            return local_refusal("content_unavailable", "the sending domain no longer exists")
        if isinstance(sealed, ContentNotFound):
            return local_refusal("content_unavailable", "the content is missing from the store")
        if isinstance(sealed, Unavailable):
            return CONTENT_UNAVAILABLE
        return RenderJob(
            key, context, content_key, signer, sealed or b"", composed,
            keys.tracking_key, keys.feedback_field(context),
            keys.feedback_signer(assignment),
        )  # fmt: skip

    def _cache(self, composed_emails: _ComposedEmails) -> None:
        for key, composed in composed_emails.items():
            if composed.size <= COMPOSED_BYTES_MAX and not composed.message_id:
                self._composed_emails[key] = composed


def render_all(jobs: _Jobs, now: datetime) -> _Rendered:
    """The messages, and the emails that were composed for them.

    Each step runs for all messages before the next, because a processor repeats a step faster than
    it changes between steps.
    """
    new = {job.key: job for job in jobs if isinstance(job, RenderJob) and job.composed is None}
    contents = [run_render_step(unseal_content, job) for job in new.values()]
    drafts = [
        run_render_step(partial(_draft, job), content)
        for job, content in zip(new.values(), contents, strict=True)
    ]
    composed = dict(
        zip(new, [run_render_step(compose_email, draft) for draft in drafts], strict=True)
    )
    messages = [_prepare(job, composed, now) for job in jobs]
    signed = iter(sign_messages([one for one in messages if isinstance(one, UnsignedMessage)]))
    return (
        [one if isinstance(one, AttemptResult) else next(signed) for one in messages],
        {key: one for key, one in composed.items() if isinstance(one, ComposedEmail)},
    )


def _draft(job: RenderJob, content: Content) -> EmailDraft:
    return draft_email(content, job.context, job.tracking_key)


def _prepare(
    job: RenderJob | AttemptResult,
    composed: Mapping[_EmailKey, ComposedEmail | AttemptResult],
    now: datetime,
) -> UnsignedMessage | AttemptResult:
    if isinstance(job, AttemptResult):
        return job
    prepare = partial(
        prepare_message,
        context=job.context, signer=job.signer, now=now, tracking_key=job.tracking_key,
        feedback_field=job.feedback_field, feedback_signer=job.feedback_signer,
    )  # fmt: skip
    return run_render_step(prepare, job.composed or composed[job.key])


def run_render_step(step: Callable[[T], R], given: T | AttemptResult) -> R | AttemptResult:
    """Apply the next step to one message; an error becomes the result of that message alone."""
    if isinstance(given, AttemptResult):
        return given
    try:
        return step(given)
    except SealBroken:
        problem = "the content does not belong to this tenant and email"
        return local_refusal("content_unavailable", problem)
    except (ValueError, DecodeError) as error:
        return local_refusal("content_invalid", str(error))


def unseal_content(job: RenderJob) -> Content:
    """Raises SealBroken or DecodeError."""
    context = job.context
    associated = f"{context.tenant_id}/{context.email_id}".encode()
    return Content.FromString(unseal(job.content_key, job.sealed, associated))


def _email_key(context: MessageContext) -> _EmailKey:
    return context.tenant_id, context.email_id, context.content_ref
