"""A server accepts a message and returns it later; a recipient complains to its provider."""

import asyncio
import signal
import smtplib
import time
import uuid
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from kernel.embedded.folder import free_port
from mail import verp
from tests.support.accounts import create_account
from tests.support.domain_reports import Row, dmarc, gzipped, mail, tls
from tests.support.engine import Engine, engine_of
from tests.support.postfix import postfix
from tests.support.receiver import Receiver, receiving
from tests.support.returned_mail import bounce, complaint, hand_in
from tests.support.stack import FreshDatabase, temporary_database

DOMAIN = "bakery-lab.net"
FEEDBACK = "fbl@mx.bakery-lab.net"
WITHIN_S = 240.0
BOUNCED, COMPLAINED = 3, 5  # their places among the counts of a tenant
ROUTES = """
[[route]]
domain = "*"
mx_hosts = ["127.0.0.1:{port}"]
"""
# It takes mail for gone-lab.net, and learns only from the next server that nobody is there.
SETTINGS = """
virtual_mailbox_domains = receiver-lab.net, gone-lab.net
transport_maps = inline:{{gone-lab.net=smtp:[127.0.0.1]:{inner},
  bounce.{domain}=smtp:[127.0.0.1]:{port}}}
smtp_tls_security_level = may
"""
SERVICES = """\
127.0.0.1:{inner} inet n - n - - smtpd
  -o myhostname=in.receiver-lab.net
  -o virtual_mailbox_maps=inline:{{a@gone-lab.net=x/}}
smtp      unix  - - n -   - smtp
retry     unix  - - n -   - error
"""


class World(NamedTuple):
    """api: with a live key. port: of the return path. inbox: of Postfix."""

    engine: Engine
    database: FreshDatabase
    tenant_id: str
    api: httpx.Client
    port: int
    inbox: Path

    def send(self, recipient: str, subject: str = "Order") -> str:
        email = {"from": f"shop@{DOMAIN}", "to": recipient, "subject": subject, "text": "Hi"}
        return str(self.api.post("/emails", json=email).raise_for_status().json()["id"])

    def events(self, email_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"/emails/{email_id}/events").json()["data"]
        return found

    def await_event(self, email_id: str, kind: str, *, late: bool = False) -> dict[str, Any]:
        """late: a bounce that arrived as mail."""
        until_s = time.monotonic() + WITHIN_S
        while True:
            events = self.events(email_id)
            for one in events:
                if (
                    one["type"] == kind
                    and (one["data"].get("bounce") or {}).get("async", False) == late
                ):
                    return one
            assert time.monotonic() < until_s, [one["type"] for one in events]
            time.sleep(0.1)

    def arrived(self, subject: str) -> bytes:
        """The message in the inbox, with the fields that Postfix adds."""
        until_s = time.monotonic() + WITHIN_S
        while time.monotonic() < until_s:
            for path in (self.inbox / "new").glob("*"):
                if f"\nSubject: {subject}\n".encode() in (content := path.read_bytes()):
                    return content
            time.sleep(0.05)
        pytest.fail("the message did not arrive")

    def await_rated(self, what: int) -> None:
        """Wait for one in the counts by which the tenant is warned and paused."""
        query = "SELECT counts FROM router.policy_counts WHERE subject = %s"
        until_s, found = time.monotonic() + WITHIN_S, 0
        with self.database.connect() as owner:
            while found != 1:
                assert time.monotonic() < until_s, found
                time.sleep(0.1)
                for (counts,) in owner.execute(query, (f"tenant/{self.tenant_id}",)).fetchall():
                    assert isinstance(counts, list)
                    found = sum(counts[what::5])

    def suppression(self, address: str) -> httpx.Response:
        return self.api.get(f"/suppressions/{address}")


@pytest.fixture(scope="module")
def world(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:  # fmt: skip
    folder = tmp_path_factory.mktemp("returns")
    port, inner = free_port(), free_port()
    settings = SETTINGS.format(inner=inner, port=port, domain=DOMAIN)
    with (
        postfix(settings=settings, services=SERVICES.format(inner=inner)) as (mx, inbox),
        temporary_database(database_url, template=migrated_template) as url,
    ):
        routes = folder / "routes.toml"
        routes.write_text(ROUTES.format(port=mx))
        with engine_of(
            folder / "engine",
            bootstrap_servers=bootstrap_servers,
            database=FreshDatabase(url),
            settings={
                "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
                "ROUTER_ROUTES_FILE": str(routes),
                "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
                "DELIVERY_RETURN_PATH_LISTEN": f"127.0.0.1:{port}",
                "DELIVERY_RETURN_PATH_HOSTNAME": "mx.bakery-lab.net",
                "DELIVERY_FEEDBACK_ADDRESSES": FEEDBACK,
                "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            },
        ) as engine:
            database = FreshDatabase(url)
            account = create_account(engine.environment, DOMAIN)
            headers = {"Authorization": f"Bearer {account.api_key}"}
            with httpx.Client(base_url=engine.url, headers=headers, timeout=60) as api:
                yield World(engine, database, account.tenant_id, api, port, inbox)


def test_a_server_returns_what_it_had_accepted(world: World) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            hook = {"endpoint": f"{receiver.url}/hook"}
            world.api.post("/webhooks", json=hook).raise_for_status()
            await asyncio.to_thread(return_and_check, world, receiver)

    asyncio.run(scenario())


def return_and_check(world: World, receiver: Receiver) -> None:
    sent = world.send("ann@gone-lab.net")
    event = world.await_event(sent, "email.bounced", late=True)
    assert event["data"]["bounce"]["class"] == "invalid_recipient"
    assert event["data"]["bounce"]["code"] == 550
    assert "email.delivered" in [one["type"] for one in world.events(sent)]
    again = world.send("Ann@gone-lab.net")
    world.await_event(again, "email.suppressed")
    assert world.suppression("ann@gone-lab.net").json()["origin"] == "bounce"
    world.await_rated(BOUNCED)
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        hooks = [one.json for one in receiver.at("/hook") if one.json["type"] == "email.bounced"]
        if hooks:
            break
        time.sleep(0.1)
    [hook] = hooks
    assert hook["data"]["email_id"] == sent
    assert hook["data"]["bounce"]["async"] is True


def test_a_complaint_suppresses_its_recipient(world: World) -> None:
    """Its report has the header alone, without Return-Path."""
    subject = f"Offer {uuid.uuid4()}"
    sent = world.send("bob@receiver-lab.net", subject)
    message = message_from_bytes(world.arrived(subject))
    world.await_event(sent, "email.delivered")
    header = f"X-Report-Token: {message['X-Report-Token']}\nMessage-ID: {message['Message-ID']}"
    assert hand_in(world.port, complaint(FEEDBACK, header), FEEDBACK)[0] == 250
    event = world.await_event(sent, "email.complained")
    assert event["data"]["complaint"]["feedback_type"] == "abuse"
    world.await_event(world.send("bob@receiver-lab.net"), "email.suppressed")
    assert world.suppression("bob@receiver-lab.net").json()["origin"] == "complaint"
    world.await_rated(COMPLAINED)


@pytest.mark.parametrize(
    ("place", "acknowledged"),
    [
        ("delivery.return_path.recorded", False),
        ("delivery.return_path.committed", False),
        ("delivery.outbox.committed", True),
    ],
)
def test_a_bounce_survives_the_end_of_the_process(
    world: World, place: str, acknowledged: bool
) -> None:
    """What has no reply is sent again, and counts once; what has one is not lost."""
    subject = f"Order {uuid.uuid4()}"
    recipient = f"{uuid.uuid4().hex}@receiver-lab.net"
    sent = world.send(recipient, subject)
    path = message_from_bytes(world.arrived(subject))["Return-Path"].strip("<>")
    assert verp.token_of(path)
    world.await_event(sent, "email.delivered")
    delivery = world.engine.processes["delivery"]
    delivery.terminate()
    delivery.start(OBM_FAILPOINTS=f"{place}=kill")
    delivery.await_ready()
    mail = bounce(path, recipient)
    try:
        replied = hand_in(world.port, mail, path)[0] == 250
    except (smtplib.SMTPException, OSError):
        replied = False
    assert delivery.wait() == -signal.SIGKILL
    assert acknowledged or not replied
    delivery.start()
    delivery.await_ready()
    if not replied:
        assert hand_in(world.port, mail, path)[0] == 250
    event = world.await_event(sent, "email.bounced", late=True)
    assert event["data"]["bounce"]["class"] == "invalid_recipient"
    until_s = time.monotonic() + WITHIN_S
    while world.suppression(recipient).status_code != 200:
        assert time.monotonic() < until_s
        time.sleep(0.1)
    assert [one["type"] for one in world.events(sent)].count("email.bounced") == 1


def test_mail_to_abuse_reaches_the_operator_once(world: World) -> None:
    """The process ends after it has forwarded the mail and before its reply, so it comes again."""
    settings = {
        "DELIVERY_API_URL": f"{world.engine.url}",
        "DELIVERY_API_KEY": world.api.headers["Authorization"].removeprefix("Bearer "),
        "DELIVERY_OPERATOR_MAIL_TO": "ops@receiver-lab.net",
        "DELIVERY_OPERATOR_MAIL_FROM": f"engine@{DOMAIN}",
    }
    delivery = world.engine.processes["delivery"]
    delivery.terminate()
    delivery.start(**settings, OBM_FAILPOINTS="delivery.return_path.forwarded=kill")
    delivery.await_ready()
    subject, to = f"Spam {uuid.uuid4().hex[:8]}", f"abuse@bounce.{DOMAIN}"
    mail = f"From: a@receiver-lab.net\r\nSubject: {subject}\r\n\r\nStop.\r\n".encode()
    with pytest.raises((smtplib.SMTPException, OSError)):
        hand_in(world.port, mail, to, sender="a@receiver-lab.net")
    assert delivery.wait() == -signal.SIGKILL
    delivery.start(**settings)
    delivery.await_ready()
    assert hand_in(world.port, mail, to, sender="a@receiver-lab.net")[0] == 250
    arrived = message_from_bytes(world.arrived(f"[{to}] {subject}"))
    assert arrived["From"] == f"engine@{DOMAIN}"
    emails = world.api.get("/emails").raise_for_status().json()["data"]
    assert len([one for one in emails if subject in one["subject"]]) == 1
    delivery.terminate()
    delivery.start()
    delivery.await_ready()


def test_a_dmarc_report_shows_who_sends_as_the_domain(world: World) -> None:
    """It goes to the address that the domain's records name."""
    [domain] = world.api.get("/domains").raise_for_status().json()["data"]
    path = f"/domains/{domain['id']}"
    records = {one["record"]: one for one in world.api.get(path).json()["records"]}
    rua, tls_rua = (records[one]["value"].partition("mailto:")[2] for one in ("DMARC", "TLS-RPT"))
    assert rua.startswith("rua+")
    assert rua.endswith(f"@{domain['return_path']}")
    ours = Row("192.0.2.1", 90, dkim_domain=DOMAIN, selector=domain["dkim_selectors"][0])
    theirs = Row("203.0.113.9", 10, "fail", "fail", "reject", dkim_domain="spam.example")
    report = mail(gzipped(dmarc(ours, theirs, domain=DOMAIN)))
    assert hand_in(world.port, report, rua, sender="d@receiver-lab.net") == (250, "2.0.0 Ok")
    found = world.api.get(f"{path}/dmarc").raise_for_status().json()
    assert (found["messages"], found["aligned"], found["reports"]) == (100, 90, 1)
    assert [(one["source_ip"], one["own"]) for one in found["sources"]] == [
        ("192.0.2.1", True),
        ("203.0.113.9", False),
    ]
    report = mail(gzipped(tls(domain=DOMAIN, failures=[("certificate-expired", 2)])))
    assert hand_in(world.port, report, tls_rua)[0] == 250
    found = world.api.get(f"{path}/tls-reports").raise_for_status().json()
    assert (found["sessions"], found["successful"]) == (12, 10)
    assert [one["result"] for one in found["results"]] == ["success", "certificate-expired"]
    for query, pointer in (
        ("since=yesterday", "#/query/since"),
        ("since=2026-01-01&until=2026-03-01", "#/query/since"),
        ("since=2026-01-02&until=2026-01-01", "#/query/since"),
        ("until=0001-01-01", ""),
    ):
        response = world.api.get(f"{path}/dmarc?{query}")
        assert response.status_code == (422 if pointer else 200), query
        assert [one["pointer"] for one in response.json().get("errors", [])] == [pointer] * bool(
            pointer
        )
    missing = world.api.get(f"/domains/{uuid.uuid4()}/dmarc")
    assert missing.status_code == 404


def test_a_report_survives_the_end_of_the_process(world: World) -> None:
    """The process ends after it has counted the report and before its reply, so it comes again."""
    [domain] = world.api.get("/domains").raise_for_status().json()["data"]
    path = f"/domains/{domain['id']}"
    records = {one["record"]: one for one in world.api.get(path).json()["records"]}
    rua = records["DMARC"]["value"].partition("mailto:")[2]
    before = world.api.get(f"{path}/dmarc").json()["reports"]
    delivery = world.engine.processes["delivery"]
    delivery.terminate()
    delivery.start(OBM_FAILPOINTS="delivery.domain_report.added=kill")
    delivery.await_ready()
    report = mail(gzipped(dmarc(Row("192.0.2.3"), domain=DOMAIN, report_id="killed")))
    with pytest.raises((smtplib.SMTPException, OSError)):
        hand_in(world.port, report, rua)
    assert delivery.wait() == -signal.SIGKILL
    delivery.start()
    delivery.await_ready()
    assert hand_in(world.port, report, rua)[0] == 250
    assert world.api.get(f"{path}/dmarc").json()["reports"] == before + 1
