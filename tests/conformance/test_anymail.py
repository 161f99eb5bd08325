"""Django's mail through the Resend backend of django-anymail, unchanged, against /v1; its webhook
view, with Svix's names of the signature."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import django
import pytest
from anymail.exceptions import AnymailRequestsAPIError, AnymailWebhookValidationFailure
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.test import RequestFactory

from kernel import clock
from services.events.domain.catalog import event_data_of
from services.events.domain.log_event import log_event_of
from services.events.domain.request_headers import svix_names
from services.events.domain.signature import SECRET_BYTES, secret_text, signature_headers
from services.events.domain.webhook_attempt import public_event_id, webhook_payload
from tests.support.engine import DOMAIN, Engine
from tests.support.message_events import MessageEvents
from tests.support.sandbox import await_captured

SECRET = bytes(range(SECRET_BYTES))
EVENT_ID = public_event_id("01a21f53-a046-7000-ad48-4b5d37e1b20f")
EMAIL_ID = "01a21f53-a046-7000-ad48-000000000001"
FROM = f"Shop <hello@{DOMAIN}>"


@pytest.fixture(scope="module")
def connection(engine: Engine) -> Any:  # noqa: ANN401 - Django has no types
    settings.configure(
        INSTALLED_APPS=["anymail"],
        ANYMAIL={
            "RESEND_API_KEY": engine.account.api_key,
            "RESEND_API_URL": f"{engine.url}/",
        },
    )
    django.setup()
    return get_connection("anymail.backends.resend.EmailBackend")


def test_a_message_of_django_arrives_with_its_parts(engine: Engine, connection: Any) -> None:  # noqa: ANN401
    to = "delivered+anymail@obm-sandbox.net"
    mail = EmailMultiAlternatives(
        "Grüße", "Hello, Zoë", FROM, [f"Zoë <{to}>"], cc=["copy@obm-sandbox.net"],
        reply_to=["answers@x.example"], headers={"X-Order": "17"}, connection=connection,
    )  # fmt: skip
    mail.attach_alternative("<p>Hello, Zoë</p>", "text/html")
    mail.attach("a.bin", bytes(range(256)), "application/octet-stream")
    mail.tags = ["order"]
    mail.metadata = {"order": "17"}

    assert mail.send() == 1

    assert mail.anymail_status.status == {"queued"}
    assert mail.anymail_status.message_id
    arrived = message_from_bytes(await_captured(engine, to), policy=policy.default)
    assert isinstance(arrived, EmailMessage)
    assert (arrived["Subject"], arrived["X-Order"]) == ("Grüße", "17")
    assert (body := arrived.get_body(("html",))) is not None
    assert body.get_content().strip() == "<p>Hello, Zoë</p>"
    [part] = arrived.iter_attachments()
    assert (part.get_filename(), part.get_content()) == ("a.bin", bytes(range(256)))


def test_a_batch_of_django_is_personal(engine: Engine, connection: Any) -> None:  # noqa: ANN401
    recipients = [f"delivered+anymail-{name}@obm-sandbox.net" for name in ("ann", "bo")]
    mail = EmailMultiAlternatives("Hi", "Hello", FROM, recipients, connection=connection)
    mail.merge_metadata = {one: {"who": one} for one in recipients}

    assert mail.send() == 1

    ids = {one.message_id for one in mail.anymail_status.recipients.values()}
    assert len(ids) == len(recipients)
    for recipient in recipients:
        arrived = message_from_bytes(await_captured(engine, recipient), policy=policy.default)
        assert arrived["To"] == recipient


def test_a_refusal_names_its_reason(connection: Any) -> None:  # noqa: ANN401
    mail = EmailMultiAlternatives("Hi", "Hello", "ann@elsewhere.example", ["b@obm-sandbox.net"])
    mail.connection = connection
    with pytest.raises(AnymailRequestsAPIError) as caught:
        mail.send()
    assert caught.value.status_code == 403
    assert "elsewhere.example" in str(caught.value)


def post_to_view(body: bytes, secret: bytes) -> int:
    """Sign a request and have the view of anymail respond; it has the secret SECRET."""
    from anymail.webhooks.resend import ResendTrackingWebhookView

    signed = signature_headers([secret], EVENT_ID, timestamp=clock.now_ms() // 1000, body=body)
    fields = {**signed, **svix_names(signed)}
    request = RequestFactory().post("/", body, content_type="application/json", headers=fields)
    view = ResendTrackingWebhookView.as_view(signing_secret=secret_text(SECRET))
    return int(view(request).status_code)


@pytest.mark.usefixtures("connection")  # which configures Django
def test_the_webhook_view_reads_an_event_and_refuses_another_signature() -> None:
    from anymail.signals import tracking

    found: list[Any] = []

    def receive(event: Any, **_: object) -> None:  # noqa: ANN401 - anymail has no types
        found.append(event)

    tracking.connect(receive)
    message = MessageEvents(email_id=EMAIL_ID)
    accepted = message.accepted()
    accepted.headers.add(name="X-Tags", value='["order"]')
    accepted.headers.add(name="X-Metadata", value='{"order": "17"}')
    data = event_data_of(log_event_of(message.closed()), accepted, public_seq=1)
    body = webhook_payload(
        EVENT_ID, "email.delivered", created_at="2026-11-27T23:25:03.622Z", tenant_id=None,
        data=data,
    )  # fmt: skip

    assert post_to_view(body, SECRET) == 200
    [event] = found
    assert (event.event_type, event.recipient) == ("delivered", "ann@example.net")
    assert (event.message_id, event.event_id) == (EMAIL_ID, EVENT_ID)
    assert (event.tags, event.metadata) == (["order"], {"order": "17"})
    with pytest.raises(AnymailWebhookValidationFailure):
        post_to_view(body, SECRET[::-1])
