"""From assignments to bytes: bodies fetched by the batch, composed once, signed together."""

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
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import clock
from kernel.content import ContentNotFound, ContentStore, ReadResult
from kernel.crypto import SealBroken, SecretKeyring, unseal
from kernel.errors import Unavailable
from kernel.group_commit import GroupCommit
from kernel.table import ReplicatedTable
from mail.dkim import Signer
from services.delivery.domain.attempt_result import AttemptResult, local_refusal
from services.delivery.domain.rendering import (
    ComposedEmail,
    UnsignedMessage,
    WireMessage,
    compose_email,
    prepare_message,
    sign_messages,
)

COMPOSED_MAX = 256  # emails whose body is kept, for their other recipients
COMPOSED_BYTES_MAX = 256 * 1024  # a larger one is not kept
LIGHT_BYTES_MAX = 256 * 1024  # a body above this is worth a thread, and goes alone
RENDER_BYTES_MAX = 4 * 1024 * 1024  # of bodies, in one batch
SIGNERS_MAX = 10_000
SLICE = 8  # messages made in one go: some five milliseconds, in which nothing else happens here

CONTENT_UNAVAILABLE = AttemptResult(
    problem="the body cannot be had just now"
)  # its own trouble: a try, like a 4yz

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RenderJob:
    """One message to render. ready: the composed of its email, when it is known already."""

    key: "_EmailKey"
    context: MessageContext
    content_key: bytes
    signer: Signer
    sealed: bytes
    ready: ComposedEmail | None


# A composed is a tenant's: the reference alone would not say so.
_EmailKey = tuple[str, str, str]
_ComposedEmails = dict[_EmailKey, ComposedEmail]
_Jobs = Sequence[RenderJob | AttemptResult]
_Made = tuple[list[WireMessage | AttemptResult], _ComposedEmails]


class SigningKeys:
    """Keys of tenants and domains, open_content once."""

    def __init__(
        self,
        tenants: ReplicatedTable[Tenant],
        domains: ReplicatedTable[Domain],
        secrets: SecretKeyring,
    ) -> None:
        self._tenants = tenants
        self._domains = domains
        self._secrets = secrets
        self._signers: dict[tuple[str, int], Signer] = {}

    def check(self, context: MessageContext) -> None:
        """Raises Unavailable while a record of this message is not known: it may be on its way
        still. Only what is known to be deleted is gone."""
        if not (
            self._tenants.has_record(context.tenant_id)
            and self._domains.has_record(context.domain_id)
        ):
            raise Unavailable("the directory")

    def content_key(self, tenant_id: str) -> bytes | None:
        tenant = self._tenants.get(tenant_id)
        return self._secrets.decrypt(tenant.content_key) if tenant is not None else None

    def signer(self, domain_id: str) -> Signer | None:
        domain = self._domains.get(domain_id)
        if domain is None:
            return None
        key = (domain.domain_id, domain.version)
        if key not in self._signers:
            while len(self._signers) >= SIGNERS_MAX:
                del self._signers[next(iter(self._signers))]  # the oldest
            self._signers[key] = signer_of(domain, self._secrets)
        return self._signers[key]


def signer_of(domain: Domain, secrets: SecretKeyring) -> Signer:
    """Both keys of a domain, loaded. Ours are sound: proving it of an RSA key takes 0.1 s."""
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
    """Renders by arrival: what is asked for while a batch is made is the next batch.

    On the loop, not in threads: cryptography keeps the interpreter's lock while a key signs (50.0),
    and two threads that fight for the lock cost more than they bring. More processors are for more
    processes.
    """

    def __init__(self, store: ContentStore, signing_keys: SigningKeys) -> None:
        self._store = store
        self._signing_keys = signing_keys
        self._composed_emails: _ComposedEmails = {}
        self._light: GroupCommit[MessageContext, WireMessage | AttemptResult] = GroupCommit(
            self._render, items_max=64, bytes_max=RENDER_BYTES_MAX
        )
        self._heavy: GroupCommit[MessageContext, WireMessage | AttemptResult] = GroupCommit(
            self._render_in_thread, items_max=1
        )

    async def render(self, context: MessageContext) -> WireMessage | AttemptResult:
        """The message, or why there cannot be one. Raises Unavailable when the store is away, or
        the directory has not come as far as this message."""
        self._signing_keys.check(context)
        size = context.content_bytes
        group = self._light if size <= LIGHT_BYTES_MAX else self._heavy
        return await group.submit(context, size=size)

    async def _render(
        self, envelopes: Sequence[MessageContext]
    ) -> list[WireMessage | AttemptResult]:
        keys = [_key(one) for one in envelopes]
        ready = {key: self._composed_emails[key] for key in keys if key in self._composed_emails}
        sealed = await self._bodies([key for key in keys if key not in ready])
        mails: list[WireMessage | AttemptResult] = []
        for start in range(0, len(keys), SLICE):
            part = zip(envelopes[start : start + SLICE], keys[start : start + SLICE], strict=True)
            jobs = [self._job(one, key, sealed.get(key), ready=ready.get(key)) for one, key in part]
            made, composed_emails = render_all(jobs, clock.now())
            mails += made
            ready |= composed_emails
            self._cache(composed_emails)
            await asyncio.sleep(0)
        return mails

    async def _render_in_thread(
        self, envelopes: Sequence[MessageContext]
    ) -> list[WireMessage | AttemptResult]:
        """Megabytes: most of the work on them leaves the interpreter's lock to others."""
        keys = [_key(one) for one in envelopes]
        sealed = await self._bodies(keys)
        pairs = zip(envelopes, keys, strict=True)
        jobs = [self._job(one, key, sealed[key], ready=None) for one, key in pairs]
        mails, _ = await asyncio.to_thread(render_all, jobs, clock.now())
        return mails

    async def _bodies(self, keys: Sequence[_EmailKey]) -> dict[_EmailKey, ReadResult]:
        wanted = {key: key[-1] for key in keys}
        if not wanted:
            return {}
        found = await self._store.get_many(list(wanted.values()))
        return dict(zip(wanted, found, strict=True))

    def _job(
        self,
        context: MessageContext,
        key: _EmailKey,
        sealed: ReadResult | None,
        *,
        ready: ComposedEmail | None,
    ) -> RenderJob | AttemptResult:
        content_key = self._signing_keys.content_key(context.tenant_id)
        signer = self._signing_keys.signer(context.domain_id)
        if content_key is None:
            return local_refusal("content_unavailable", "the tenant no longer exists")
        if signer is None:
            return local_refusal("content_unavailable", "the sending domain no longer exists")
        if isinstance(sealed, ContentNotFound):
            return local_refusal("content_unavailable", "the body is gone from the store")
        if isinstance(sealed, Unavailable):
            return CONTENT_UNAVAILABLE
        return RenderJob(key, context, content_key, signer, sealed or b"", ready)

    def _cache(self, composed_emails: _ComposedEmails) -> None:
        for key, made in composed_emails.items():
            if len(made.wire) <= COMPOSED_BYTES_MAX:
                self._composed_emails[key] = made
        while len(self._composed_emails) > COMPOSED_MAX:
            del self._composed_emails[next(iter(self._composed_emails))]


def render_all(jobs: _Jobs, now: datetime) -> _Made:
    """The messages, and the composed_emails that were made for them.

    Step by step: a processor does the same thing again faster than something else.
    """
    fresh = {job.key: job for job in jobs if isinstance(job, RenderJob) and job.ready is None}
    contents = [apply_step(open_content, job) for job in fresh.values()]
    made = dict(
        zip(fresh, [apply_step(compose_email, content) for content in contents], strict=True)
    )
    messages = [_prepare(job, made, now) for job in jobs]
    mails = iter(sign_messages([one for one in messages if isinstance(one, UnsignedMessage)]))
    return (
        [one if isinstance(one, AttemptResult) else next(mails) for one in messages],
        {key: one for key, one in made.items() if isinstance(one, ComposedEmail)},
    )


def _prepare(
    job: RenderJob | AttemptResult,
    made: Mapping[_EmailKey, ComposedEmail | AttemptResult],
    now: datetime,
) -> UnsignedMessage | AttemptResult:
    if isinstance(job, AttemptResult):
        return job
    written = partial(prepare_message, context=job.context, signer=job.signer, now=now)
    return apply_step(written, job.ready or made[job.key])


def apply_step(step: Callable[[T], R], given: T | AttemptResult) -> R | AttemptResult:
    """The next step of one message; what is wrong with it is its own end."""
    if isinstance(given, AttemptResult):
        return given
    try:
        return step(given)
    except SealBroken:
        problem = "the body does not belong to this tenant and email"
        return local_refusal("content_unavailable", problem)
    except (ValueError, DecodeError) as error:
        return local_refusal("content_invalid", str(error))


def open_content(job: RenderJob) -> Content:
    """Raises SealBroken or DecodeError."""
    context = job.context
    associated = f"{context.tenant_id}/{context.email_id}".encode()
    return Content.FromString(unseal(job.content_key, job.sealed, associated))


def _key(context: MessageContext) -> _EmailKey:
    return context.tenant_id, context.email_id, context.content_ref
