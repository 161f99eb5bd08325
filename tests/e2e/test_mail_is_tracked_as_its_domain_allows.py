"""Opens and clicks are tracked in the mail that arrives, and its recipients can unsubscribe."""

import re
import smtplib
import ssl
import uuid
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import grpc
import httpx
import pytest

from contracts.ingest.v1.email_service_pb2 import Email, ListUnsubscribe, SendEmailRequest
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceStub
from kernel.crypto import derived_key
from mail import tracking, unsubscribe
from tests.support.accounts import keys_of_callers
from tests.support.engine import DOMAIN, Engine, engine_of
from tests.support.sandbox import await_captured
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase, temporary_database

BRANDS = """
[default]
name = "Own"
slug = "obm"
sandbox_domain = "obm-sandbox.net"
tracking_host = "links.own-brand.net"
unsubscribe_host = "leave.own-brand.net"
"""
URL = "https://shop.example.org/a?b=1&c=(2)|'3'#d"
PAGE = f'<p>Grüße <a href="{URL}">see</a> <a href="https://my.bank.example/">pay</a></p>'


@pytest.fixture(scope="module")
def engine(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    """Its account's domain is tracked."""
    folder = tmp_path_factory.mktemp("tracked")
    brands = folder / "brands.toml"
    brands.write_text(BRANDS)
    with (
        temporary_database(database_url, template=migrated_template) as url,
        engine_of(
            folder / "engine",
            bootstrap_servers=bootstrap_servers,
            database=FreshDatabase(url),
            settings={
                "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
                "OBM_BRANDS_FILE": str(brands),
            },
        ) as running,
    ):
        shell = Shell(
            {
                "OBM_API_URL": running.url,
                "OBM_OPERATOR_KEY": keys_of_callers(running.environment)["accounts"],
            }
        )
        on = ("--opens", "--clicks", "--untracked", "bank.example")
        shown = shell.obm("domain", "track", running.account.domain_id, *on)
        assert shown.split("\n") == [
            "opens: yes", "clicks: yes", "mode: identified", "not to: bank.example"
        ]  # fmt: skip
        yield running


def change_domain(engine: Engine, **fields: bool) -> None:
    operator = keys_of_callers(engine.environment)["accounts"]
    owner = {"Authorization": f"Bearer {operator}", "X-Tenant-Id": engine.account.tenant_id}
    path = f"{engine.url}/domains/{engine.account.domain_id}"
    changed = httpx.patch(path, json=fields, headers=owner, timeout=60)
    assert changed.status_code == 200, changed.text
    assert fields.items() <= changed.json().items()


def send(engine: Engine, **fields: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    given = {"from": f"Shop <hello@{DOMAIN}>", "subject": "Hi", "html": PAGE}
    headers = {"Authorization": f"Bearer {engine.account.api_key}"}
    return httpx.post(f"{engine.url}/emails", json=given | fields, headers=headers, timeout=60)


def page_of(raw: bytes) -> str:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def header_of(raw: bytes, name: str) -> str:
    return str(message_from_bytes(raw, policy=policy.default)[name] or "")


def clicks_of(engine: Engine, page: str) -> list[tracking.Click | None]:
    found = re.findall(r'href="https://links\.own-brand\.net/c/([\w-]+)"', page)
    return [tracking.read_click(token, [key_of(engine)]) for token in found]


def key_of(engine: Engine) -> bytes:
    return derived_key(engine.environment["OBM_SECRET_KEYS"].partition(",")[0], "tracking")


def test_the_messages_of_both_recipients_have_their_own_tokens(engine: Engine) -> None:
    recipients = [f"delivered+{name}@obm-sandbox.net" for name in ("ann", "bob")]
    sent = send(engine, to=recipients)
    assert sent.status_code == 202, sent.text
    pages = [page_of(await_captured(engine, one)) for one in recipients]
    clicks = [click for page in pages for click in clicks_of(engine, page) if click]
    assert [click.url for click in clicks] == [URL, URL]
    assert {str(click.tenant_id) for click in clicks} == {engine.account.tenant_id}
    for page, click in zip(pages, clicks, strict=True):
        [token] = re.findall(r"https://links\.own-brand\.net/o/([\w-]+)\.gif", page)
        opened = tracking.read_open(token, [key_of(engine)])
        assert opened is not None
        assert opened.message_id == click.message_id
    assert clicks[0].message_id != clicks[1].message_id


def test_an_email_is_less_tracked_on_request_by_rest_and_grpc(engine: Engine) -> None:
    first, second = (f"delivered+{name}@obm-sandbox.net" for name in ("less", "none"))
    assert send(engine, to=first, track_opens=False).status_code == 202
    off = Email(
        to=[second], subject="Hi", html=PAGE, track_opens=False, track_clicks=False,
        list_unsubscribe=ListUnsubscribe(mailto="leave@shop.example.org"),
    )  # fmt: skip
    setattr(off, "from", f"hello@{DOMAIN}")
    with grpc.insecure_channel(f"127.0.0.1:{engine.ports.ingest_grpc}") as channel:
        metadata = (("authorization", f"Bearer {engine.account.api_key}"),)
        stub = EmailServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="list_unsubscribe"):  # it is transactional
            stub.SendEmail(SendEmailRequest(email=off), metadata=metadata)
        off.stream = "broadcast"
        stub.SendEmail(SendEmailRequest(email=off), metadata=metadata)
    less, none = await_captured(engine, first), await_captured(engine, second)
    assert (page_of(less).count("/c/"), page_of(less).count("/o/")) == (1, 0)
    assert page_of(none).strip() == PAGE
    assert header_of(none, "List-Unsubscribe").endswith(", <mailto:leave@shop.example.org>")


def test_an_email_keeps_less_than_its_domain_and_not_more(engine: Engine) -> None:
    to = "delivered+mode@obm-sandbox.net"
    refused = send(engine, to=to, tracking_mode="full")
    assert (refused.status_code, refused.json()["name"]) == (422, "tracking_not_allowed")
    assert refused.json()["errors"][0]["pointer"] == "#/tracking_mode"
    assert send(engine, to=to, tracking_mode="anonymous").status_code == 202
    page = page_of(await_captured(engine, to))
    [click] = clicks_of(engine, page)
    [token] = re.findall(r"https://links\.own-brand\.net/o/([\w-]+)\.gif", page)
    opened = tracking.read_open(token, [key_of(engine)])
    assert click is not None
    assert opened is not None
    assert click.mode == opened.mode == tracking.TrackingMode.ANONYMOUS


def test_more_than_the_domain_allows_is_refused_in_a_batch_too(engine: Engine) -> None:
    change_domain(engine, open_tracking=False)
    try:
        refused = send(engine, to="delivered@obm-sandbox.net", track_opens=True)
        assert (refused.status_code, refused.json()["name"]) == (422, "tracking_not_allowed")
        assert refused.json()["errors"][0]["pointer"] == "#/track_opens"
        one = {
            "from": f"a@{DOMAIN}",
            "to": "delivered@obm-sandbox.net",
            "subject": "x",
            "text": "y",
        }
        batch = [one, one | {"track_opens": True}]
        headers = {"Authorization": f"Bearer {engine.account.api_key}"}
        found = httpx.post(f"{engine.url}/emails/batch", json=batch, headers=headers, timeout=60)
        assert (found.status_code, found.json()["name"]) == (422, "tracking_not_allowed")
        assert found.json()["errors"][0]["pointer"] == "#/1/track_opens"
        headers["x-batch-validation"] = "permissive"
        some = httpx.post(f"{engine.url}/emails/batch", json=batch, headers=headers, timeout=60)
        assert some.status_code == 202
        assert [error["index"] for error in some.json()["errors"]] == [1]
    finally:
        change_domain(engine, open_tracking=True)


def test_a_broadcast_can_be_unsubscribed_from_with_one_click(engine: Engine) -> None:
    to = "delivered+news@obm-sandbox.net"
    page = f'{PAGE}<a href="{{{{unsubscribe_url}}}}">leave</a>'
    assert send(engine, to=to, html=page, stream="broadcast").status_code == 202
    raw = await_captured(engine, to)
    assert header_of(raw, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    url = header_of(raw, "List-Unsubscribe").strip("<>")
    token = url.removeprefix("https://leave.own-brand.net/u/")
    assert unsubscribe.verify(token, [key_of(engine)]) is not None
    assert f'<a href="{url}">leave</a>' in page_of(raw)
    signed = header_of(raw, "DKIM-Signature").replace(" ", "")
    assert "list-unsubscribe:list-unsubscribe:list-unsubscribe-post" in signed


def test_a_message_by_smtp_is_tracked_on_request(engine: Engine) -> None:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["Subject"] = f"hello@{DOMAIN}", "Hi"
    message.set_content("Plain")
    message.add_alternative(PAGE, subtype="html", cte="quoted-printable")
    raw = message.as_bytes()
    context = ssl.create_default_context(cafile=engine.environment["INGEST_TLS_CERTIFICATE"])
    as_is, wanted = (f"delivered+{name}@obm-sandbox.net" for name in ("asis", "wanted"))
    with smtplib.SMTP_SSL("localhost", engine.ports.submission_tls, context=context) as client:
        client.login("any", engine.account.api_key)
        client.sendmail(f"hello@{DOMAIN}", [as_is], raw)
        client.sendmail(f"hello@{DOMAIN}", [wanted], b"Track-Clicks: true\r\n" + raw)
    assert await_captured(engine, as_is).endswith(raw)
    tracked = await_captured(engine, wanted)
    assert b"track-clicks" not in tracked.lower()
    [click] = clicks_of(engine, page_of(tracked))
    assert click is not None
    assert (click.url, "/o/" in page_of(tracked)) == (URL, False)
