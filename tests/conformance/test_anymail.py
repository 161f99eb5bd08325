"""Django's mail through the Resend backend of django-anymail, unchanged, against /v1."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import django
import pytest
from anymail.exceptions import AnymailRequestsAPIError
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from tests.support.engine import DOMAIN, Engine
from tests.support.sandbox import await_captured

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
