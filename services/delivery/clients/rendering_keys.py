"""The keys by which messages are decrypted and signed."""

import logging

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import metrics
from kernel.bounded_dict import BoundedDict
from kernel.crypto import SecretKeyring
from kernel.errors import Unavailable
from kernel.table import ReplicatedTable
from mail.dkim import Signer
from services.delivery.domain.feedback_domain import feedback_problem
from services.delivery.domain.feedback_ids import FeedbackIdEncoder

SIGNERS_MAX = 10_000

logger = logging.getLogger(__name__)


class RenderingKeys:
    """The keys of tenants and domains, decrypted from the directory. Signers are cached."""

    def __init__(
        self,
        tenants: ReplicatedTable[Tenant],
        domains: ReplicatedTable[Domain],
        secrets: SecretKeyring,
        *,
        tracking_key: bytes,
        feedback_ids: FeedbackIdEncoder,
    ) -> None:
        self._feedback_ids = feedback_ids
        self.tracking_key = tracking_key
        self._tenants = tenants
        self._domains = domains
        self._secrets = secrets
        self._signers: BoundedDict[tuple[str, int], Signer] = BoundedDict(SIGNERS_MAX)
        self._unsigned: BoundedDict[str, str] = BoundedDict(SIGNERS_MAX)

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

    def feedback_signer(self, assignment: DeliveryAssigned) -> Signer | None:
        """That of the pool's feedback domain, if there is one that can sign. Without it a
        complaint may not be reported, but the message is as valid."""
        domain_id = assignment.feedback_domain_id
        if not domain_id or domain_id == assignment.context.domain_id:
            return None
        domain = self._domains.get(domain_id)
        if problem := feedback_problem(domain):
            self._report_unsigned(domain_id, problem)
            return None
        return self.signer(domain_id)

    def _report_unsigned(self, domain_id: str, problem: str) -> None:
        """Logged once until the reason changes."""
        metrics.feedback_unsigned.labels(problem).inc()
        if self._unsigned.get(domain_id) != problem:
            self._unsigned[domain_id] = problem
            logger.warning(
                "delivery.feedback_domain.unused",
                extra={"domain_id": domain_id, "reason": problem},
            )

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
