"""Renders messages: reads content in batches, composes each email once, signs together."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from google.protobuf.message import DecodeError

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, MessageContext
from kernel import clock
from kernel.bounded_dict import BoundedDict
from kernel.content import ContentNotFound, ContentStore, ReadResult
from kernel.crypto import SealBroken, SecretKeyring, unseal
from kernel.errors import Unavailable
from kernel.group_commit import GroupCommit
from kernel.table import ReplicatedTable
from mail.dkim import Signer
from services.delivery.domain.attempt_result import AttemptResult, local_refusal
from services.delivery.domain.feedback_ids import FeedbackIds
from services.delivery.domain.rendering import (
    ComposedEmail,
    UnsignedMessage,
    WireMessage,
    compose_email,
    prepare_message,
    sign_messages,
)

COMPOSED_MAX = 256  # emails that are cached, for their other recipients
COMPOSED_BYTES_MAX = 256 * 1024  # a larger email is not cached
INLINE_BYTES_MAX = 256 * 1024  # larger content is rendered alone, in a thread
RENDER_BYTES_MAX = 4 * 1024 * 1024  # of content, in one batch
SIGNERS_MAX = 10_000
SLICE = 8  # messages rendered before the event loop runs again: some 5 ms

# A temporary failure of this message alone, such as a 4yz reply.
CONTENT_UNAVAILABLE = AttemptResult(problem="the content cannot be read at the moment")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One message to render. composed: its email, if that is composed already. tracking_key: signs
    the tokens in its links. feedback_field: its Feedback-ID."""

    key: "_EmailKey"
    context: MessageContext
    content_key: bytes
    signer: Signer
    sealed: bytes
    composed: ComposedEmail | None
    tracking_key: bytes = b""
    feedback_field: bytes = b""


# The tenant is part of the key: a composed email must never be used for another tenant.
_EmailKey = tuple[str, str, str]
_ComposedEmails = dict[_EmailKey, ComposedEmail]
_Jobs = Sequence[RenderJob | AttemptResult]
_Rendered = tuple[list[WireMessage | AttemptResult], _ComposedEmails]
RenderGroup = GroupCommit[MessageContext, WireMessage | AttemptResult]


class SigningKeys:
    """The keys of tenants and domains, decrypted from the directory. Signers are cached."""

    def __init__(
        self,
        tenants: ReplicatedTable[Tenant],
        domains: ReplicatedTable[Domain],
        secrets: SecretKeyring,
        *,
        tracking_key: bytes,
        feedback_ids: FeedbackIds,
    ) -> None:
        self._feedback_ids = feedback_ids
        self.tracking_key = tracking_key
        self._tenants = tenants
        self._domains = domains
        self._secrets = secrets
        self._signers: BoundedDict[tuple[str, int], Signer] = BoundedDict(SIGNERS_MAX)

    def check(self, context: MessageContext) -> None:
        """Raises Unavailable until the directory has records of the tenant and the domain. They may
        not have arrived yet; a deleted one has a record."""
        if not (
            self._tenants.has_record(context.tenant_id)
            and self._domains.has_record(context.domain_id)
        ):
            raise Unavailable("the directory")

    def content_key(self, tenant_id: str) -> bytes | None:
        tenant = self._tenants.get(tenant_id)
        return self._secrets.decrypt(tenant.content_key) if tenant is not None else None

    def feedback_field(self, context: MessageContext) -> bytes:
        """Empty for an unknown tenant."""
        tenant = self._tenants.get(context.tenant_id)
        return self._feedback_ids.field(context, tenant.account_id) if tenant else b""

    def signer(self, domain_id: str) -> Signer | None:
        domain = self._domains.get(domain_id)
        if domain is None:
            return None
        key = (domain.domain_id, domain.version)
        if key not in self._signers:
            self._signers[key] = signer_of(domain, self._secrets)
        return self._signers[key]


def signer_of(domain: Domain, secrets: SecretKeyring) -> Signer:
    """A signer with both keys of a domain, unvalidated: that takes 0.1 s for an RSA key."""
    rsa = ed25519 = None
    if domain.rsa_private_key:
        der = secrets.decrypt(domain.rsa_private_key)
        rsa = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if domain.ed25519_private_key:
        ed25519 = load_der_private_key(secrets.decrypt(domain.ed25519_private_key), None)
    return Signer(
        domain.name,
        domain.rsa_selector or None,
        rsa if isinstance(rsa, RSAPrivateKey) else None,
        domain.ed25519_selector or None,
        ed25519 if isinstance(ed25519, Ed25519PrivateKey) else None,
    )


class Renderer:
    """Renders messages as they arrive: requests during one batch form the next.

    It works on the event loop, not in threads: cryptography (50.0) holds the interpreter lock while
    it signs, so threads cost more than they gain. Run more processes to use more processors.
    """

    def __init__(self, store: ContentStore, signing_keys: SigningKeys) -> None:
        self._store = store
        self._signing_keys = signing_keys
        self._composed_emails: _ComposedEmails = BoundedDict(COMPOSED_MAX)
        # By whether the mail is bulk. Both run side by side: hundreds of messages of a newsletter
        # may wait in one.
        self._inline = {
            is_bulk: RenderGroup(self._render, items_max=64, bytes_max=RENDER_BYTES_MAX)
            for is_bulk in (False, True)
        }
        self._threaded = {
            is_bulk: RenderGroup(self._render_in_thread, items_max=1) for is_bulk in (False, True)
        }

    async def render(self, context: MessageContext) -> WireMessage | AttemptResult:
        """Render the message; an AttemptResult is the reason why it cannot be rendered.

        Raises Unavailable when the store is unavailable, or the directory has no record of the
        tenant or the domain yet.
        """
        self._signing_keys.check(context)
        size = context.content_bytes
        groups = self._inline if size <= INLINE_BYTES_MAX else self._threaded
        return await groups[context.priority == PRIORITY_BULK].submit(context, size=size)

    async def _render(
        self, contexts: Sequence[MessageContext]
    ) -> list[WireMessage | AttemptResult]:
        keys = [_email_key(one) for one in contexts]
        cached = {key: self._composed_emails[key] for key in keys if key in self._composed_emails}
        sealed = await self._read_contents([key for key in keys if key not in cached])
        rendered: list[WireMessage | AttemptResult] = []
        for start in range(0, len(keys), SLICE):
            part = zip(contexts[start : start + SLICE], keys[start : start + SLICE], strict=True)
            jobs = [
                self._create_job(one, key, sealed.get(key), composed=cached.get(key))
                for one, key in part
            ]
            messages, composed_emails = render_all(jobs, clock.now())
            rendered += messages
            cached |= composed_emails
            self._cache(composed_emails)
            await asyncio.sleep(0)
        return rendered

    async def _render_in_thread(
        self, contexts: Sequence[MessageContext]
    ) -> list[WireMessage | AttemptResult]:
        """Render in a thread: most work on large content releases the interpreter lock."""
        keys = [_email_key(one) for one in contexts]
        sealed = await self._read_contents(keys)
        pairs = zip(contexts, keys, strict=True)
        jobs = [self._create_job(one, key, sealed[key], composed=None) for one, key in pairs]
        rendered, _ = await asyncio.to_thread(render_all, jobs, clock.now())
        return rendered

    async def _read_contents(self, keys: Sequence[_EmailKey]) -> dict[_EmailKey, ReadResult]:
        refs = {key: key[-1] for key in keys}
        if not refs:
            return {}
        found = await self._store.get_many(list(refs.values()))
        return dict(zip(refs, found, strict=True))

    def _create_job(
        self,
        context: MessageContext,
        key: _EmailKey,
        sealed: ReadResult | None,
        *,
        composed: ComposedEmail | None,
    ) -> RenderJob | AttemptResult:
        content_key = self._signing_keys.content_key(context.tenant_id)
        signer = self._signing_keys.signer(context.domain_id)
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
            self._signing_keys.tracking_key, self._signing_keys.feedback_field(context),
        )  # fmt: skip

    def _cache(self, composed_emails: _ComposedEmails) -> None:
        for key, composed in composed_emails.items():
            if composed.size <= COMPOSED_BYTES_MAX:
                self._composed_emails[key] = composed


def render_all(jobs: _Jobs, now: datetime) -> _Rendered:
    """The messages, and the emails that were composed for them.

    Each step runs for all messages before the next, because a processor repeats a step faster than
    it changes between steps.
    """
    new = {job.key: job for job in jobs if isinstance(job, RenderJob) and job.composed is None}
    contents = [run_render_step(unseal_content, job) for job in new.values()]
    composed = dict(
        zip(new, [run_render_step(compose_email, content) for content in contents], strict=True)
    )
    messages = [_prepare(job, composed, now) for job in jobs]
    signed = iter(sign_messages([one for one in messages if isinstance(one, UnsignedMessage)]))
    return (
        [one if isinstance(one, AttemptResult) else next(signed) for one in messages],
        {key: one for key, one in composed.items() if isinstance(one, ComposedEmail)},
    )


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
        feedback_field=job.feedback_field,
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
