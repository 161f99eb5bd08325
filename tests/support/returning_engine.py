"""An engine whose return path takes mail, and Postfix, which returns what it had accepted."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from kernel.embedded.folder import free_port
from tests.support.accounts import create_account
from tests.support.engine import Engine, engine_of
from tests.support.postfix import postfix
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


@contextmanager
def returning_world(
    folder: Path,
    *,
    bootstrap_servers: str,
    database_url: str,
    template: str,
    more: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """template: the name of a migrated database. more: settings."""
    port, inner = free_port(), free_port()
    settings = SETTINGS.format(inner=inner, port=port, domain=DOMAIN)
    with (
        postfix(settings=settings, services=SERVICES.format(inner=inner)) as (mx, inbox),
        temporary_database(database_url, template=template) as url,
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
                **(more or {}),
            },
        ) as engine:
            database = FreshDatabase(url)
            account = create_account(engine.environment, DOMAIN)
            headers = {"Authorization": f"Bearer {account.api_key}"}
            with httpx.Client(base_url=engine.url, headers=headers, timeout=60) as api:
                yield World(engine, database, account.tenant_id, api, port, inbox)
