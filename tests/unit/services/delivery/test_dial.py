"""Hosts whose TLS or DSN is remembered as broken."""

import ssl
import warnings

import pytest

from kernel import clock
from mail.smtp_reply import Reply
from services.delivery.clients.smtp.broken_features import BROKEN_MAX, BROKEN_TTL_S, BrokenFeatures
from services.delivery.clients.smtp.dial import is_tls_temporarily_unavailable
from services.delivery.clients.smtp.dial_target import DialTarget
from services.delivery.clients.smtp.tls_contexts import lenient_context
from services.delivery.domain.attempt_result import STARTTLS, AttemptResult


def test_temporarily_unavailable_tls_is_not_remembered_as_broken() -> None:
    assert is_tls_temporarily_unavailable(
        AttemptResult(STARTTLS, Reply(454, "4.7.0", "TLS not available"))
    )
    assert not is_tls_temporarily_unavailable(AttemptResult(STARTTLS, Reply(500, "", "what?")))
    assert not is_tls_temporarily_unavailable(AttemptResult(STARTTLS, problem="handshake failed"))


def test_broken_tls_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    broken, host = BrokenFeatures(), DialTarget("mx.example", 25, ("192.0.2.1",))
    broken.add(host)
    assert host in broken
    now[0] += BROKEN_TTL_S
    assert host not in broken
    assert not broken


def test_the_number_of_remembered_hosts_is_bounded() -> None:
    broken = BrokenFeatures()
    for number in range(BROKEN_MAX + 5):
        broken.add(DialTarget(f"mx{number}.example", 25, ("192.0.2.1",)))
    assert len(broken) == BROKEN_MAX
    assert DialTarget("mx0.example", 25, ("192.0.2.1",)) not in broken


def test_an_old_server_gets_old_tls_rather_than_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = lenient_context()
    assert context.minimum_version <= ssl.TLSVersion.TLSv1
    assert context.verify_mode == ssl.CERT_NONE
