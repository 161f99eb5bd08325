"""Which domains sign a message."""

from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contracts.ingest.v1 import directory_pb2 as pb
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import metrics
from kernel.crypto import SecretKeyring, new_secret_key
from services.delivery.clients.rendering_keys import RenderingKeys
from services.delivery.domain.feedback_ids import FeedbackIdEncoder

SECRETS = SecretKeyring([new_secret_key()])
KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
ENCRYPTED = SECRETS.encrypt(KEY)


def domain(domain_id: str, **fields: Any) -> pb.Domain:  # noqa: ANN401 - of the contract
    fields = {"status": pb.DOMAIN_STATUS_VERIFIED} | fields
    return pb.Domain(
        domain_id=domain_id, name=f"{domain_id}.example", ed25519_selector="s",
        ed25519_private_key=ENCRYPTED, **fields,
    )  # fmt: skip


def feedback_signers(*domains: pb.Domain, feedback_domain_id: str) -> list[str]:
    """The domain that signs besides the sender's, if any."""
    keys = RenderingKeys(
        cast(Any, {}), cast(Any, {one.domain_id: one for one in domains}), SECRETS,
        tracking_key=b"", feedback_ids=FeedbackIdEncoder(bytes(32), ""),
    )  # fmt: skip
    context = MessageContext(domain_id="own")
    signer = keys.feedback_signer(
        DeliveryAssigned(context=context, feedback_domain_id=feedback_domain_id)
    )
    return [signer.domain] if signer else []


def unsigned(reason: str) -> float:
    labels = {"reason": reason}
    return metrics.registry.get_sample_value("obm_delivery_feedback_unsigned_total", labels) or 0


@pytest.mark.parametrize(
    "status",
    [
        pb.DOMAIN_STATUS_VERIFIED, pb.DOMAIN_STATUS_PARTIALLY_VERIFIED,
        pb.DOMAIN_STATUS_PARTIALLY_FAILED, pb.DOMAIN_STATUS_UNSPECIFIED,
    ],
)  # fmt: skip
def test_a_feedback_domain_with_a_dkim_record_signs(status: pb.DomainStatus.ValueType) -> None:
    found = domain("fbl", status=status)
    assert feedback_signers(found, feedback_domain_id="fbl") == ["fbl.example"]


def test_mail_without_a_feedback_domain_or_from_it_has_no_second_signature() -> None:
    assert not feedback_signers(domain("fbl"), feedback_domain_id="")
    assert not feedback_signers(domain("own"), feedback_domain_id="own")


@pytest.mark.parametrize(
    ("domains", "reason"),
    [
        ([], "removed"),
        ([domain("fbl", paused=True)], "paused"),
        ([domain("fbl", status=pb.DOMAIN_STATUS_PENDING)], "unverified"),
        ([domain("fbl", status=pb.DOMAIN_STATUS_FAILED)], "unverified"),
    ],
)
def test_a_feedback_domain_whose_record_receivers_do_not_find_does_not_sign(
    domains: list[pb.Domain], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = unsigned(reason)
    assert not feedback_signers(*domains, feedback_domain_id="fbl")
    assert unsigned(reason) == before + 1
    [line] = [one for one in caplog.records if one.msg == "delivery.feedback_domain.unused"]
    assert line.__dict__["reason"] == reason
