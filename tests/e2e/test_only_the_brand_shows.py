"""Nothing that customers, recipients or strangers can see names the engine, or another brand."""

import asyncio
import json
import re
import socket
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message_factory import GetMessageClass

from tests.support.accounts import keys_of_callers
from tests.support.branded_customer import NAME, SLUGS, Customer
from tests.support.engine import Engine, engine_of
from tests.support.known_keys import ACCESS
from tests.support.operations import is_stream
from tests.support.public_rpcs import Rpc, rpcs, services_with
from tests.support.receiver import Receiver, receiving
from tests.support.smtp_session import SmtpSession
from tests.support.stack import FreshDatabase, temporary_database
from tests.support.tls import certificate_files

WITHIN_S = 120.0
BRANDS = """
[default]
name = "Zenith Mail"
slug = "zenith"
sandbox_domain = "zenith-sandbox.net"
smtp_host = "smtp.zenith-mail.net"
tracking_host = "links.zenith-mail.net"
api_hosts = ["api.zenith-mail.net"]

[default.certificates."smtp.reseller-post.net"]
certificate = "{folder}/reseller/certificate.pem"
key = "{folder}/reseller/key.pem"

[partner]
name = "Partner Post"
slug = "partner"
sandbox_domain = "partner-sandbox.net"
api_hosts = ["api.partner-post.net"]
smtp_host = "smtp.partner-post.net"
tracking_host = "links.partner-post.net"
unsubscribe_host = "leave.partner-post.net"
bounce_mx = "mx.partner-post.net"

[partner.certificates."smtp.partner-post.net"]
certificate = "{folder}/certificate.pem"
key = "{folder}/key.pem"
"""


@pytest.fixture(scope="module")
def engine(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    folder = tmp_path_factory.mktemp("brands")
    certificate_files(folder, "smtp.partner-post.net")
    (folder / "reseller").mkdir()
    certificate_files(folder / "reseller", "smtp.reseller-post.net")
    brands = folder / "brands.toml"
    brands.write_text(BRANDS.format(folder=folder))
    with (
        temporary_database(database_url, template=migrated_template) as url,
        engine_of(
            folder / "engine",
            bootstrap_servers=bootstrap_servers,
            database=FreshDatabase(url),
            settings={
                "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
                "OBM_BRANDS_FILE": str(brands),
                "OBM_BOUNCE_MX": "mx.zenith-mail.net",
                "ROUTER_EHLO": "out.neutral.net",
                "INGEST_SUBMISSION_HOSTNAME": "mail.neutral.net",
                "DELIVERY_RETURN_PATH_HOSTNAME": "mx.neutral.net",
                "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            },
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module", params=SLUGS)
def customer(request: pytest.FixtureRequest, engine: Engine) -> Customer:
    return Customer(engine, request.param)


def test_every_answer_of_the_api(customer: Customer) -> None:
    """Each operation of the document: with ids that do not exist, and with an empty body."""
    root = customer.engine.url.removesuffix("/v1")
    document = customer.call("GET", f"{root}/openapi.json").json()
    customer.call("GET", f"{root}/docs")
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "post", "put", "patch", "delete"}:
            called = f"{root}{re.sub('{[^}]*}', str(uuid.uuid4()), path)}"
            if is_stream(operations[method]):
                called += "?type=unknown"  # what is accepted does not end
            for key in (customer.key, customer.account_key, "none"):
                customer.call(method.upper(), called, key)
            if method != "get":
                customer.call(method.upper(), called, customer.live_key, unknown="field")
    assert customer.leaks() == []


def test_dns_records(customer: Customer) -> None:
    made = customer.call("POST", "/domains", customer.live_key, name="customer-lab.net")
    assert made.status_code == 201, made.text
    values = [one["value"] for one in made.json()["records"]]
    assert any(f"mx.{customer.domain}" in one for one in values)
    assert any(f"include:_spf.mx.{customer.domain}" in one for one in values)
    customer.call("POST", f"/domains/{made.json()['id']}/rotate-dkim", customer.live_key)
    assert customer.leaks() == []


def test_messages_their_events_and_webhooks(customer: Customer) -> None:

    async def scenario() -> None:
        async with receiving() as receiver:
            await asyncio.to_thread(send_and_wait, customer, customer.key, receiver)
            for one in receiver.received:
                customer.saw("webhook", f"{one.headers}\n{one.body.decode()}")
                assert one.headers["user-agent"] == f"{customer.slug.upper()}-Webhooks/1"

    asyncio.run(scenario())
    assert customer.leaks() == []


def send_and_wait(customer: Customer, key: str, receiver: Receiver) -> None:
    """Send a message that arrives and one that bounces, and wait for their webhooks."""
    domain = "own-lab.net"
    assert customer.call("POST", "/webhooks", key, endpoint=f"{receiver.url}/hook").is_success
    # a domain needs a live key of the same tenant
    [own] = customer.call("GET", "/api-keys", key).json()["data"]
    live = customer.new_key(name="Live", tenant_id=own["tenant_id"])
    on = {"open_tracking": True, "click_tracking": True}
    assert customer.call("POST", "/domains", live, name=domain, **on).is_success
    for local in ("delivered", "bounced"):
        sent = customer.call(
            "POST", "/emails", key, **{"from": f"Shop <shop@{domain}>"},
            to=f"{local}@{customer.sandbox}", subject="Order", text="Hi", html='<a href="https://own-lab.net/">Hi</a>',
            stream="broadcast" if local == "delivered" else "transactional",
        )  # fmt: skip
        assert sent.status_code == 202, sent.text
    until_s = time.monotonic() + WITHIN_S
    wanted = {"email.sent", "email.delivered", "email.bounced"}
    while not wanted <= {one.json.get("type") for one in receiver.at("/hook")}:
        assert time.monotonic() < until_s, [one.json for one in receiver.received]
        time.sleep(0.1)
    for one in customer.call("GET", "/emails", key).json()["data"]:
        customer.call("GET", f"/emails/{one['id']}", key)
        customer.call("GET", f"/emails/{one['id']}/events", key)
    for one in customer.call("GET", "/sandbox/messages", key).json()["data"]:
        customer.call("GET", f"/sandbox/messages/{one['id']}", key)
        raw = customer.call("GET", f"/sandbox/messages/{one['id']}/raw", key)
        assert b"DKIM-Signature" in raw.content
        assert raw.content.count(f"https://links.{customer.domain}/".encode()) == 2
        if one["recipient"].startswith("delivered"):
            assert f"<https://leave.{customer.domain}/u/".encode() in raw.content


STRANGE = (
    "HELP",
    "VRFY x",
    "NOOP",
    "EXPN x",
    "XYZ",
    "MAIL FROM:<a@b.net>",
    "RCPT TO:<a@b.net>",
    "DATA",
)
WRONG = ("AUTH CRAM-MD5", "AUTH PLAIN ====", "AUTH PLAIN AAAA", "STARTTLS x", "EHLO", "x" * 600)


def session_of(customer: Customer, host: str = "", *, tls: bool = True) -> SmtpSession:
    ports = customer.engine.ports
    port = ports.submission_tls if tls else ports.submission
    return SmtpSession(customer.saw, port, host, tls=tls)


def test_smtp_before_a_login(customer: Customer) -> None:
    with session_of(customer, f"smtp.{customer.domain}", tls=False) as plain:
        assert plain.greeting == "220 mail.neutral.net ESMTP\r\n"
        plain.send("EHLO x.test", *STRANGE, *WRONG, "STARTTLS")
        plain.start_tls()
        assert plain.send("EHLO x.test").startswith(f"250-smtp.{customer.domain}\r\n")
        plain.send(*STRANGE, *WRONG, "QUIT")
    for host in (f"smtp.{customer.domain}", ""):
        with session_of(customer, host) as tls:
            tls.send("EHLO x.test", *STRANGE, *WRONG, "GET / HTTP/1.1")
    assert customer.leaks() == []


def test_smtp_at_the_return_path(customer: Customer) -> None:
    """Its mail is of all brands."""
    with SmtpSession(customer.saw, customer.engine.ports.return_path, tls=False) as session:
        assert session.greeting == "220 mx.neutral.net ESMTP\r\n"
        session.send("EHLO x.test", *STRANGE, "AUTH PLAIN AAAA", "STARTTLS")
        session.start_tls()
        recipients = ("postmaster@b.net", "bounce+00@b.net", "bad")
        session.send("EHLO x.test", "MAIL FROM:<>", *(f"RCPT TO:<{one}>" for one in recipients))
        session.send("DATA", "QUIT")
    assert customer.leaks() == []


def test_smtp_after_a_login(customer: Customer) -> None:
    """Without SNI, the account decides."""
    [own] = customer.call("GET", "/api-keys", customer.live_key).json()["data"]
    customer.call("POST", "/domains", customer.live_key, name="smtp-lab.net")
    for username, password in (
        ("any", customer.key), ("any", customer.live_key), (own["tenant_id"], customer.account_key)
    ):  # fmt: skip
        with session_of(customer) as session:
            session.send("EHLO x.test")
            reply = session.log_in(username, password)
            assert reply.startswith("235"), reply
            assert session.send("EHLO x.test").startswith(f"250-smtp.{customer.domain}\r\n")
            assert session.log_in(username, password).startswith("503")
            session.send("MAIL FROM:<a@foreign-lab.net>", "MAIL FROM:<a@smtp-lab.net>", "RSET")
            recipients = ("a@example.com", f"delivered@{customer.sandbox}", "a@zen.net", "bad")
            session.send("MAIL FROM:<>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA")
            session.send("From: a@foreign-lab.net\r\nSubject: Hi\r\n\r\nHi\r\n.", "QUIT")
    with session_of(customer) as session:
        session.send("EHLO x.test")
        reply = session.log_in("nobody", customer.account_key)
        assert reply.startswith("535 5.7.8 This is the key of an account")
    assert customer.leaks() == []


def test_a_mailbox_and_the_settings_for_its_mail_program(customer: Customer) -> None:
    key = customer.live_key
    customer.call("POST", "/domains", key, name="boxes-lab.net")
    made = customer.call("POST", "/mailboxes", key, address="ann@boxes-lab.net", test=True)
    assert made.json()["smtp"]["host"] == f"smtp.{customer.domain}", made.text
    customer.call("GET", "/mailboxes", key)
    with session_of(customer) as session:
        session.send("EHLO x.test")
        assert session.log_in("ann@boxes-lab.net", made.json()["password"]).startswith("235")
        sent = session.send(
            "MAIL FROM:<bob@boxes-lab.net>", "MAIL FROM:<ann@boxes-lab.net>",
            f"RCPT TO:<delivered@{customer.sandbox}>", "DATA",
            "From: ann@boxes-lab.net\r\nSubject: Hi\r\n\r\nHi\r\n.",
        )  # fmt: skip
        assert sent.startswith("250 2.0.0 Queued as "), sent
    assert customer.leaks() == []


def test_errors_over_grpc(customer: Customer) -> None:
    """Each RPC, with an empty message, with the keys of all and without one."""
    calls = 0
    with grpc.insecure_channel(f"127.0.0.1:{customer.engine.ports.ingest_grpc}") as channel:
        for rpc in rpcs(services_with(ACCESS)):
            for key in (customer.key, customer.live_key, customer.account_key, "none"):
                calls += call(customer, channel, rpc, key)
    assert calls > 0
    metadata = [text for where, text in customer.seen if where == "gRPC SendEmail"]
    assert any(customer.slug in text for text in metadata)
    assert customer.leaks() == []


def call(customer: Customer, channel: grpc.Channel, rpc: Rpc, key: str) -> bool:
    """Whether it is refused."""
    method: Any = channel.unary_unary(
        f"/{rpc.service}/{rpc.method.name}",
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=GetMessageClass(rpc.method.output_type).FromString,
    )
    refused = {"type": ["unknown"]} if rpc.method.name == "StreamEvents" else {}  # or it lasts
    request = rpc.request(**refused)
    try:
        response = method(request, metadata=(("authorization", f"Bearer {key}"),), timeout=60)
    except grpc.RpcError as error:
        status: Any = error
        customer.saw(f"gRPC {rpc.method.name}", f"{status.details()} {status.trailing_metadata()}")
        return True
    customer.saw(f"gRPC {rpc.method.name}", str(response))
    return False


def test_requests_that_are_malformed(customer: Customer) -> None:
    """They are answered before they reach an operation."""
    host = f"Host: api.{customer.domain}\r\n".encode()
    for head in (
        b"GET /nothing HTTP/1.1\r\n" + host,
        b"OPTIONS /v1/emails HTTP/1.1\r\nOrigin: http://x.test\r\n" + host,
        b"TRACE /v1/emails HTTP/1.1\r\n" + host,
        b"POST /v1/emails HTTP/1.1\r\nContent-Length: x\r\n" + host,
        b"POST /v1/emails HTTP/1.1\r\nContent-Length: 99999999999\r\n" + host,
        b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n" + host,
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"x" * 70_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nno field\r\n" + host,
        b"GARBAGE\r\n" + host,
    ):
        address = ("127.0.0.1", customer.engine.ports.ingest_http)
        with socket.create_connection(address, timeout=60) as sock:
            sock.sendall(head + b"Connection: close\r\n\r\n")
            answer = b"".join(iter(partial(sock.recv, 65_536), b""))
        customer.saw(f"HTTP {head[:40]!r}", answer.decode("latin-1"))
    assert customer.leaks() == []


def test_an_unknown_brand_is_refused_with_a_pointer(customer: Customer) -> None:
    operator = keys_of_callers(customer.engine.environment)["accounts"]
    refused = customer.call("POST", "/accounts", operator, name="Two", brand="partnr")
    assert refused.status_code == 422
    assert json.loads(refused.text)["errors"][0]["pointer"] == "#/brand"


@pytest.mark.parametrize("host", ["elsewhere.net", "mx.zenith-mail.net", "127.0.0.1", "localhost"])
def test_a_host_that_no_brand_has_shows_none(customer: Customer, host: str) -> None:
    root = customer.engine.url.removesuffix("/v1")
    for path in ("/v1/none", "/v1/emails", "/openapi.json", "/docs"):
        answer = httpx.get(root + path, headers={"Host": host}, timeout=60)
        assert (answer.status_code == 421) == host.endswith(".net"), answer.text
        for name in ("obm", "zenith", *SLUGS):
            assert not re.search(NAME.format(name), answer.text.lower()), (path, name)
