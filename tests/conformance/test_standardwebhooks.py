"""The libraries of Standard Webhooks and of Svix verify our signatures."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook

from kernel import clock
from services.events.domain.signature import SECRET_BYTES, secret_text, signature_headers

SECRET = bytes(range(SECRET_BYTES))
BODY = '{"type":"email.delivered","data":{"subject":"Grüße ✓"}}'.encode()


@given(st.binary(min_size=24, max_size=64), st.dictionaries(st.text(), st.text()))
def test_the_library_verifies_any_body_under_any_secret(secret: bytes, data: object) -> None:
    import json

    body = json.dumps(data).encode()
    signed = signature_headers([secret], "evt_1", timestamp=clock.now_ms() // 1000, body=body)

    assert Webhook(secret_text(secret)).verify(body, signed) == data


@pytest.mark.parametrize("age_s", [-299, 299])
def test_an_attempt_is_accepted_within_five_minutes(age_s: int) -> None:
    sent_at_s = clock.now_ms() // 1000 - age_s
    signed = signature_headers([SECRET], "evt_1", timestamp=sent_at_s, body=BODY)

    Webhook(secret_text(SECRET)).verify(BODY, signed)


@pytest.mark.parametrize("age_s", [-310, 310])
def test_an_old_signature_is_refused(age_s: int) -> None:
    sent_at_s = clock.now_ms() // 1000 - age_s
    signed = signature_headers([SECRET], "evt_1", timestamp=sent_at_s, body=BODY)

    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(SECRET)).verify(BODY, signed)


@pytest.mark.parametrize("changed", ["webhook-id", "body", "secret"])
def test_any_change_invalidates_the_signature(changed: str) -> None:
    signed = signature_headers([SECRET], "evt_1", timestamp=clock.now_ms() // 1000, body=BODY)
    body, secret = BODY, SECRET
    if changed == "webhook-id":
        signed["webhook-id"] = "evt_2"
    elif changed == "body":
        body = BODY.replace(b"delivered", b"bounced")
    else:
        secret = SECRET[::-1]

    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(secret)).verify(body, signed)


@pytest.mark.parametrize("library", [Webhook, SvixWebhook])
def test_each_secret_of_a_rotation_verifies_alone(library: Any) -> None:  # noqa: ANN401 - both
    new, old, other = SECRET, SECRET[::-1], bytes(SECRET_BYTES)
    signed = signature_headers([new, old], "evt_1", timestamp=clock.now_ms() // 1000, body=BODY)

    for one in (new, old):
        library(secret_text(one)).verify(BODY, signed)
    with pytest.raises(WebhookVerificationError):
        library(secret_text(other)).verify(BODY, signed)
