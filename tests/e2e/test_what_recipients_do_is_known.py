"""Mail over a tracking host of the customer's own is opened, followed and unsubscribed from, by
HTTP and in a browser."""

import asyncio
import re
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest

from kernel.embedded.folder import free_port
from mail.dkim import zone_text
from tests.support.accounts import create_account
from tests.support.background import in_background
from tests.support.browser import chromium
from tests.support.engine import WITHIN_S, Engine, engine_of
from tests.support.name_server import NameServer, name_server
from tests.support.pebble import Pebble, pebble
from tests.support.receiver import Received, Receiver, receiving
from tests.support.smtp_peer import SmtpPeer
from tests.support.stack import FreshDatabase, temporary_database
from tests.support.tls import certificate_files

DOMAIN, HOST, TARGET = "baker.net", "links.baker.net", "links.own-brand.net"
SHOP = "http://shop.baker.net/cakes?a=1&b='2'#menu"
BRANDS = f"""
[default]
name = "Own"
slug = "obm"
sandbox_domain = "obm-sandbox.net"
tracking_host = "{TARGET}"
unsubscribe_host = "leave.own-brand.net"
"""
ROUTES = """
[[route]]
domain = "*"
mx_hosts = ["{address}"]
"""
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
# A person opens a message some time after it has arrived; a click within 2 s is a machine's.
READ_AFTER_S = 2.5

T = TypeVar("T")


def wait_for(find: Callable[[], T | None]) -> T:
    until_s = time.monotonic() + WITHIN_S
    while (found := find()) is None:
        assert time.monotonic() < until_s, "it did not come to that in time"
        time.sleep(0.1)
    return found


class Followed(NamedTuple):
    """The answer to a link."""

    status: int
    location: str
    body: bytes


class World(NamedTuple):
    """api: with a live key. peer: the recipients' server. hooks: a webhook endpoint, and the shop.
    port: of links, with TLS."""

    engine: Engine
    api: httpx.Client
    peer: SmtpPeer
    hooks: Receiver
    names: NameServer
    authority: Pebble
    port: int

    def call(self, method: str, path: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
        response = self.api.request(method, path, json=fields or None)
        assert response.status_code < 300, response.text
        return response.json()

    def set_up_domain(self) -> None:
        """As a customer does it: add it, publish its records, and wait for its certificate."""
        made = self.call(
            "POST", "/domains", name=DOMAIN, open_tracking=True, click_tracking=True,
            tracking_subdomain="links",
        )  # fmt: skip
        zone: dict[str, dict[str, list[str]]] = {}
        for one in made["records"]:
            value = zone_text(one["value"]) if one["type"] == "TXT" else f"{one['value']}."
            if one["type"] == "MX":
                value = f"{one['priority']} {value}"
            zone.setdefault(one["name"], {})[one["type"]] = [value]
        zone[TARGET] = {"A": ["127.0.0.1"]}
        self.names.records = zone
        self.call("POST", f"/domains/{made['id']}/verify")

        def certified() -> bool | None:
            found = self.call("GET", f"/domains/{made['id']}")
            print(
                found["status"],
                found["tracking_certificate"],
                [(r["name"], r["status"], r["problem"]) for r in found["records"]],
            )
            certificate = found["tracking_certificate"] or {}
            issued = certificate.get("status") == "issued"
            return True if found["status"] == "verified" and issued else None

        wait_for(certified)

    def send(self, recipient: str, **fields: object) -> str:
        page = f'<p><a href="{SHOP.replace("&", "&amp;")}">cakes</a> or pies</p>'
        email = {"from": f"Baker <hello@{DOMAIN}>", "to": recipient, "subject": "Hi", "html": page}
        return str(self.call("POST", "/emails", **email | fields)["id"])

    def arrived(self, recipient: str, number: int = 0) -> EmailMessage:
        """A message to the recipient, the first by default."""

        def find() -> EmailMessage | None:
            found = [one for one in self.peer.messages if recipient in one.rcpt_to]
            if len(found) <= number:
                return None
            message = message_from_bytes(found[number].message, policy=policy.default)
            assert isinstance(message, EmailMessage)
            return message

        return wait_for(find)

    def event(self, email_id: str, kind: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            events = self.call("GET", f"/emails/{email_id}/events")["data"]
            return next((one for one in events if one["type"] == kind), None)

        return wait_for(find)

    def webhook(self, email_id: str, kind: str) -> dict[str, Any]:
        def matches(one: Received) -> bool:
            body = one.json
            return bool(body["type"] == kind and body["data"].get("email_id") == email_id)

        def find() -> dict[str, Any] | None:
            return next((one.json for one in self.hooks.at("/hook") if matches(one)), None)

        return wait_for(find)

    def follow(self, url: str, method: str = "GET", body: bytes = b"") -> Followed:
        """By a client that trusts only the authority, and names the host."""
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname) == ("https", HOST)
        context = ssl.create_default_context(cafile=str(self.authority.issuer_file))
        head = (
            f"{method} {parts.path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {AGENT}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as tls,
        ):
            tls.sendall(head.encode() + body)
            response = HTTPResponse(tls, method=method)
            response.begin()
            return Followed(response.status, response.headers["Location"] or "", response.read())


@pytest.fixture(scope="module")
def world(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:  # fmt: skip
    folder = tmp_path_factory.mktemp("recipients")
    challenges, links = free_port(), free_port()
    with ExitStack() as exits:
        names, server = exits.enter_context(in_background(name_server({})))
        peer = exits.enter_context(in_background(SmtpPeer()))
        hooks = exits.enter_context(in_background(receiving()))
        authority = exits.enter_context(
            pebble(folder / "ca", challenge_port=challenges, name_server=server)
        )
        url = exits.enter_context(temporary_database(database_url, template=migrated_template))
        settings = {
            **of_files(folder, peer),
            "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
            "OBM_BOUNCE_MX": "mx.own-brand.net",
            "INGEST_NAMESERVERS": server,
            "INGEST_DOMAIN_CHECK_INTERVAL_S": "0.2",
            "OBM_ACME_DIRECTORY": authority.directory,
            "EVENTS_ACME_CA_FILE": str(authority.ca_file),
            "EVENTS_ACME_LISTEN": f"127.0.0.1:{challenges}",
            "EVENTS_TRACKING_TLS_LISTEN": f"127.0.0.1:{links}",
            "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        engine = exits.enter_context(
            engine_of(
                folder / "engine", bootstrap_servers=bootstrap_servers,
                database=FreshDatabase(url), settings=settings,
            )
        )  # fmt: skip
        account = create_account(engine.environment, "other-baker.net")
        headers = {"Authorization": f"Bearer {account.api_key}"}
        api = exits.enter_context(httpx.Client(base_url=engine.url, headers=headers, timeout=60))
        found = World(engine, api, peer, hooks, names, authority, links)
        found.call("POST", "/webhooks", endpoint=f"{hooks.url}/hook")
        found.set_up_domain()
        yield found


def of_files(folder: Path, peer: SmtpPeer) -> dict[str, str]:
    brands, routes = folder / "brands.toml", folder / "routes.toml"
    brands.write_text(BRANDS)
    routes.write_text(ROUTES.format(address=peer.address))
    files = certificate_files(folder / "own", TARGET)
    return {
        "OBM_BRANDS_FILE": str(brands),
        "ROUTER_ROUTES_FILE": str(routes),
        "EVENTS_TLS_CERTIFICATE": str(files.certificate),
        "EVENTS_TLS_KEY": str(files.key),
    }


def html_of(message: EmailMessage) -> str:
    part = message.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def test_what_a_recipient_does_is_known_and_leaving_a_list_stops_its_broadcasts(
    world: World,
) -> None:
    ann = "ann@people-lab.net"
    first = world.send(ann, stream="broadcast", list="offers")
    message = world.arrived(ann)
    page = html_of(message)
    [click] = re.findall(r'href="(https://[^"]+)"', page)
    [pixel] = re.findall(r'src="(https://[^"]+\.gif)"', page)
    time.sleep(READ_AFTER_S)
    assert world.follow(pixel).body.startswith(b"GIF89a")
    followed = world.follow(click)
    assert (followed.status, followed.location) == (302, SHOP)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    leave = str(message["List-Unsubscribe"]).strip("<>")
    assert world.follow(leave, "POST", b"List-Unsubscribe=One-Click").status == 200

    check_known(world, first, ann)

    def suppressed() -> bool | None:
        return (
            True if world.api.get(f"/suppressions/{ann}?list=offers").status_code == 200 else None
        )

    wait_for(suppressed)
    second = world.send(ann, stream="broadcast", list="offers")
    assert world.event(second, "email.suppressed")["data"]["recipient"] == ann
    other = world.send(ann, stream="broadcast", list="news")
    order = world.send(ann, subject="Your order")
    for sent in (other, order):
        world.event(sent, "email.delivered")
    subjects = [
        one.message.count(b"Subject: ") for one in world.peer.messages if ann in one.rcpt_to
    ]
    assert len(subjects) == 3, "the second one to the list was not sent"


def check_known(world: World, email_id: str, recipient: str) -> None:
    for kind in ("email.opened", "email.clicked", "email.unsubscribed"):
        assert world.event(email_id, kind)["data"]["recipient"] == recipient
        assert world.webhook(email_id, kind)["data"]["recipient"] == recipient
    clicked = world.webhook(email_id, "email.clicked")["data"]["click"]
    assert (clicked["link"], clicked["machine"]) == (SHOP, False)
    left = world.event(email_id, "email.unsubscribed")["data"]["unsubscribe"]
    assert left == {"method": "one_click", "list": "offers"}
    shown = world.call("GET", f"/emails/{email_id}")
    assert (shown["last_event"], shown["engagement"]["clicks"]) == ("clicked", 1)


def test_a_browser_opens_a_message_and_a_person_clicks(world: World, tmp_path: Path) -> None:
    bob = "bob@people-lab.net"
    email_id = world.send(bob, tags=[{"name": "reader", "value": "bob"}])
    file = tmp_path / "message.html"
    file.write_text(html_of(world.arrived(bob)), encoding="utf-8")
    shop = world.hooks.url.removeprefix("http://")
    addresses = {HOST: f"127.0.0.1:{world.port}", "shop.baker.net": shop}

    async def read() -> None:
        async with chromium(tmp_path, addresses) as browser:
            await browser.open(file.as_uri())
            await browser.until("[...document.images].every(one => one.complete)")
            widths = await browser.evaluate("[...document.images].map(one => one.naturalWidth)")
            assert widths == [1], "the pixel has been loaded"
            await asyncio.sleep(READ_AFTER_S)
            await browser.click("a")
            await browser.until("location.hostname == 'shop.baker.net'")
            assert await browser.evaluate("location.href") == SHOP.replace("'", "%27")
            assert await browser.evaluate("document.referrer") == ""

    asyncio.run(read())
    for kind, what in (("email.opened", "open"), ("email.clicked", "click")):
        hit = world.webhook(email_id, kind)["data"][what]
        assert (hit["machine"], hit["userAgent"]) == (False, "Chrome 150, Linux")
        assert world.event(email_id, kind)["data"][what]["machine"] is False
    assert [one.path for one in world.hooks.received if one.path == "/cakes"] == ["/cakes"]

    def counted() -> dict[str, Any] | None:
        names = "unique_opened,unique_clicked,machine_opened,machine_clicked"
        found = world.call("GET", f"/emails/metrics?metrics={names}&dimensions=tag")["data"]
        return next(
            (one for one in found if one["tag"] == "reader:bob" and one["unique_clicked"]), None
        )

    figures = wait_for(counted)
    assert (figures["unique_opened"], figures["unique_clicked"]) == (1, 1)
    assert (figures["machine_opened"], figures["machine_clicked"]) == (0, 0)
