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
from contracts.ingest.v1.events_pb2 import Envelope
from kernel import clock
from kernel.content import ContentStore, Found, Missing
from kernel.crypto import SealBroken, Secrets, unseal
from kernel.errors import Unavailable
from kernel.group import Group
from kernel.table import Table
from mail.dkim import Signer
from services.delivery.domain.ending import Ending, refused
from services.delivery.domain.rendering import Draft, Letter, Mail, draft, letter, signed

DRAFTS_MAX = 256  # emails whose body is kept, for their other recipients
DRAFT_BYTES_MAX = 256 * 1024  # a larger one is not kept
LIGHT_BYTES_MAX = 256 * 1024  # a body above this is worth a thread, and goes alone
RENDER_BYTES_MAX = 4 * 1024 * 1024  # of bodies, in one batch
SIGNERS_MAX = 10_000
SLICE = 8  # messages made in one go: some five milliseconds, in which nothing else happens here

LATER = Ending(problem="the body cannot be had just now")  # its own trouble: a try, like a 4yz

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Job:
    """One message to render. ready: the draft of its email, when it is known already."""

    key: "_DraftKey"
    envelope: Envelope
    content_key: bytes
    signer: Signer
    sealed: bytes
    ready: Draft | None


# A draft is a tenant's: the reference alone would not say so.
_DraftKey = tuple[str, str, str]
_Drafts = dict[_DraftKey, Draft]
_Jobs = Sequence[Job | Ending]
_Made = tuple[list[Mail | Ending], _Drafts]


class Directory:
    """Keys of tenants and domains, opened once."""

    def __init__(self, tenants: Table[Tenant], domains: Table[Domain], secrets: Secrets) -> None:
        self._tenants = tenants
        self._domains = domains
        self._secrets = secrets
        self._signers: dict[tuple[str, int], Signer] = {}

    def check(self, envelope: Envelope) -> None:
        """Raises Unavailable while a record of this message is not known: it may be on its way
        still. Only what is known to be deleted is gone."""
        if not (
            self._tenants.knows(envelope.tenant_id) and self._domains.knows(envelope.domain_id)
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


def signer_of(domain: Domain, secrets: Secrets) -> Signer:
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

    def __init__(self, store: ContentStore, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._drafts: _Drafts = {}
        self._light: Group[Envelope, Mail | Ending] = Group(
            self._render, items_max=64, bytes_max=RENDER_BYTES_MAX
        )
        self._heavy: Group[Envelope, Mail | Ending] = Group(self._render_aside, items_max=1)

    async def render(self, envelope: Envelope) -> Mail | Ending:
        """The message, or why there cannot be one. Raises Unavailable when the store is away, or
        the directory has not come as far as this message."""
        self._directory.check(envelope)
        size = envelope.content_bytes
        group = self._light if size <= LIGHT_BYTES_MAX else self._heavy
        return await group.submit(envelope, size=size)

    async def _render(self, envelopes: Sequence[Envelope]) -> list[Mail | Ending]:
        keys = [_key(one) for one in envelopes]
        ready = {key: self._drafts[key] for key in keys if key in self._drafts}
        sealed = await self._bodies([key for key in keys if key not in ready])
        mails: list[Mail | Ending] = []
        for start in range(0, len(keys), SLICE):
            part = zip(envelopes[start : start + SLICE], keys[start : start + SLICE], strict=True)
            jobs = [self._job(one, key, sealed.get(key), ready=ready.get(key)) for one, key in part]
            made, drafts = make_all(jobs, clock.now())
            mails += made
            ready |= drafts
            self._keep(drafts)
            await asyncio.sleep(0)
        return mails

    async def _render_aside(self, envelopes: Sequence[Envelope]) -> list[Mail | Ending]:
        """Megabytes: most of the work on them leaves the interpreter's lock to others."""
        keys = [_key(one) for one in envelopes]
        sealed = await self._bodies(keys)
        pairs = zip(envelopes, keys, strict=True)
        jobs = [self._job(one, key, sealed[key], ready=None) for one, key in pairs]
        mails, _ = await asyncio.to_thread(make_all, jobs, clock.now())
        return mails

    async def _bodies(self, keys: Sequence[_DraftKey]) -> dict[_DraftKey, Found]:
        wanted = {key: key[-1] for key in keys}
        if not wanted:
            return {}
        found = await self._store.get_many(list(wanted.values()))
        return dict(zip(wanted, found, strict=True))

    def _job(
        self,
        envelope: Envelope,
        key: _DraftKey,
        sealed: Found | None,
        *,
        ready: Draft | None,
    ) -> Job | Ending:
        content_key = self._directory.content_key(envelope.tenant_id)
        signer = self._directory.signer(envelope.domain_id)
        if content_key is None:
            return refused("content_unavailable", "the tenant no longer exists")
        if signer is None:
            return refused("content_unavailable", "the sending domain no longer exists")
        if isinstance(sealed, Missing):
            return refused("content_unavailable", "the body is gone from the store")
        if isinstance(sealed, Unavailable):
            return LATER
        return Job(key, envelope, content_key, signer, sealed or b"", ready)

    def _keep(self, drafts: _Drafts) -> None:
        for key, made in drafts.items():
            if len(made.wire) <= DRAFT_BYTES_MAX:
                self._drafts[key] = made
        while len(self._drafts) > DRAFTS_MAX:
            del self._drafts[next(iter(self._drafts))]


def make_all(jobs: _Jobs, now: datetime) -> _Made:
    """The messages, and the drafts that were made for them.

    Step by step: a processor does the same thing again faster than something else.
    """
    fresh = {job.key: job for job in jobs if isinstance(job, Job) and job.ready is None}
    contents = [attempt(opened, job) for job in fresh.values()]
    made = dict(zip(fresh, [attempt(draft, content) for content in contents], strict=True))
    letters = [_letter(job, made, now) for job in jobs]
    mails = iter(signed([one for one in letters if isinstance(one, Letter)]))
    return (
        [one if isinstance(one, Ending) else next(mails) for one in letters],
        {key: one for key, one in made.items() if isinstance(one, Draft)},
    )


def _letter(
    job: Job | Ending, made: Mapping[_DraftKey, Draft | Ending], now: datetime
) -> Letter | Ending:
    if isinstance(job, Ending):
        return job
    written = partial(letter, envelope=job.envelope, signer=job.signer, now=now)
    return attempt(written, job.ready or made[job.key])


def attempt(step: Callable[[T], R], given: T | Ending) -> R | Ending:
    """The next step of one message; what is wrong with it is its own end."""
    if isinstance(given, Ending):
        return given
    try:
        return step(given)
    except SealBroken:
        problem = "the body does not belong to this tenant and email"
        return refused("content_unavailable", problem)
    except (ValueError, DecodeError) as error:
        return refused("content_invalid", str(error))


def opened(job: Job) -> Content:
    """Raises SealBroken or DecodeError."""
    envelope = job.envelope
    associated = f"{envelope.tenant_id}/{envelope.email_id}".encode()
    return Content.FromString(unseal(job.content_key, job.sealed, associated))


def _key(envelope: Envelope) -> _DraftKey:
    return envelope.tenant_id, envelope.email_id, envelope.content_ref
