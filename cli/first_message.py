"""The first message of a new installation, sent through all five services."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from cli.api import CREDENTIALS, Api, Credentials, read_credentials
from cli.directory import create_operator_key
from cli.environment import Ports
from kernel.embedded.folder import write_atomically
from kernel.errors import ConfigError

DELIVERED_WITHIN_S = 30.0
POLL_S = 0.05
SENDER_DOMAIN = "hello.obm-sandbox.net"
RECIPIENT = "delivered+hello@obm-sandbox.net"
SERVICE_UNAVAILABLE = 503
KAFKA_USER = "OBM_KAFKA_SASL_USERNAME"
TRUST = '--cacert "$OBM_CERTIFICATE" '
EMAIL = {
    "from": f"OBM Engine <hello@{SENDER_DOMAIN}>",
    "to": RECIPIENT,
    "subject": "Hello from your own engine",
    "text": "This message went through ingest, shield, router, delivery and events.",
    "html": "<p>This message went through <b>ingest, shield, router, delivery</b> and"
    " <b>events</b>.</p>",
}


class NotDelivered(Exception):
    """The engine runs, but its first message was not delivered."""


class FirstMessage:
    """api: the root of the HTTP API. Its address and both keys are stored in the data folder, for
    later runs and for other commands."""

    def __init__(self, api: str, data: Path, console: Console) -> None:
        self._api = api
        self._data = data
        self._credentials = data / CREDENTIALS
        self._console = console
        self._key = ""
        self._operator_key = ""

    async def load_or_create_keys(self) -> None:
        """Load the test key and the operator key, or create them, with an account, on the first
        run."""
        found = read_credentials(self._data)
        url = f"{self._api}/v1"
        self._operator_key = found.get("operator_key", "") or await create_operator_key("obm run")
        api = Api(Credentials(url, self._operator_key, str(self._credentials)))
        self._key = found.get("api_key", "") or await asyncio.to_thread(
            create_sandbox_key, api, SENDER_DOMAIN
        )
        keys = {"api_url": url, "api_key": self._key, "operator_key": self._operator_key}
        if keys != found:
            write_atomically(self._credentials, json.dumps(keys))

    async def send(self) -> None:
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"}, base_url=self._api
        ) as http:
            found = (await self._request(http, "GET", "/v1/emails?limit=1"))["data"]
            if found:
                self._console.print(
                    f"found messages of earlier runs, the last one is [b]{found[0]['id']}[/b]"
                )
            began = time.monotonic()
            sent = await self._request(http, "POST", "/v1/emails", body=EMAIL)
            await self._follow(http, str(sent["id"]), began)

    async def _follow(self, http: aiohttp.ClientSession, email_id: str, began: float) -> None:
        """Print each event as it occurs, until the message is delivered."""
        self._console.print(f"\nsent [b]{email_id}[/b] to {RECIPIENT}")
        seen: set[str] = set()
        while time.monotonic() - began < DELIVERED_WITHIN_S:
            events = (await self._request(http, "GET", f"/v1/emails/{email_id}/events"))["data"]
            for event in events:
                if event["id"] not in seen:
                    seen.add(event["id"])
                    self._console.print(
                        f"  {event['created_at']}  {event['type']}  {_detail(event)}"
                    )
            if any(event["type"] == "email.delivered" for event in events):
                self._console.print(f"delivered after {time.monotonic() - began:.2f} s\n")
                return
            await asyncio.sleep(POLL_S)
        raise NotDelivered(
            f"The first message was not delivered within {DELIVERED_WITHIN_S:.0f} s. "
            "See the events above."
        )

    async def _request(
        self, http: aiohttp.ClientSession, method: str, path: str, *, body: object = None
    ) -> dict[str, Any]:
        """The response, with retries while services are starting. Raises ConfigError if refused."""
        until = time.monotonic() + DELIVERED_WITHIN_S
        while True:
            async with http.request(method, path, json=body) as response:
                content: dict[str, Any] = await response.json()
            if response.ok:
                return content
            if response.status != SERVICE_UNAVAILABLE or time.monotonic() > until:
                raise ConfigError(
                    f"The first message was refused: {content['message']} Its key is stored "
                    f"in {self._credentials}; delete that file to create a new key."
                )
            await asyncio.sleep(POLL_S)

    def _describe_kafka(self) -> str:
        address, user = os.environ["OBM_KAFKA_BOOTSTRAP_SERVERS"], os.environ.get(KAFKA_USER)
        password = f" (user {user}, password in {self._data}/kafka.password)" if user else ""
        return address + password

    def print_addresses(self, ports: Ports, *, tls: bool = False) -> None:
        api = f"https://localhost:{ports.ingest_http_tls}" if tls else self._api
        grpc = f"localhost:{ports.ingest_grpc_tls}" if tls else f"127.0.0.1:{ports.ingest_grpc}"
        for what, where in {
            "API": f"{api}/v1",
            "API reference": f"{api}/docs",
            "gRPC": f"{grpc} (TLS)" if tls else grpc,
            "SMTP submission": f"127.0.0.1:{ports.submission} (STARTTLS), "
            f"127.0.0.1:{ports.submission_tls} (TLS)",
            "return path": f"127.0.0.1:{ports.return_path} (SMTP, for mail that comes back)",
            "links in mail": f"http://127.0.0.1:{ports.events_tracking}",
            "Kafka": self._describe_kafka(),
            "sandbox messages": f"{api}/v1/sandbox/messages (requires the key)",
            **({"certificate": os.environ["INGEST_TLS_CERTIFICATE"]} if tls else {}),
            "metrics of ingest": f"http://127.0.0.1:{ports.ingest_health}/metrics",
        }.items():
            self._console.print(f"{what:18} {where}")
        self._console.print(
            f"\n`obm` reads the address and the operator's key from {self._credentials}."
            f"\n\nIn another shell:\n\nexport OBM_API_URL={api}/v1\n"
            f"export OBM_API_KEY={self._key}\n"
            f"export OBM_OPERATOR_KEY={self._operator_key}\n"
            f"export OBM_GRPC_ADDRESS={grpc}\n"
            f"export OBM_SMTP_PORT={ports.submission}\n"
            f"export OBM_SMTPS_PORT={ports.submission_tls}\n"
            f"export OBM_CERTIFICATE={os.environ['INGEST_TLS_CERTIFICATE']}\n"
            f'curl -s {TRUST if tls else ""}"$OBM_API_URL/emails" '
            '-H "Authorization: Bearer $OBM_API_KEY" '
            "-H 'Content-Type: application/json' "
            f'-d \'{{"from": "me@{SENDER_DOMAIN}", "to": "delivered@obm-sandbox.net", '
            '"subject": "Hi", "text": "Hello"}\'\n\nPress Ctrl-C to stop.',
            soft_wrap=True,
        )


def create_sandbox_key(api: Api, domain: str) -> str:
    """A test key of the tenant that owns the domain; of a new tenant if there is none."""
    if existing := list(api.items("/domains", name=domain)):
        own = min(existing, key=lambda one: str(one["id"]))  # others may add the name later
        tenant_id = own["tenant_id"]
    else:
        account = api.post("/accounts", {"name": f"account of {domain}"})
        new = {"name": f"tenant of {domain}", "account_id": account["id"]}
        tenant_id = api.post("/tenants", new)["id"]
        api.post("/domains", {"name": domain, "vouched": True}, tenant_id=tenant_id)
    key = api.post("/api-keys", {"name": "obm run", "tenant_id": tenant_id, "test": True})
    return str(key["token"])


def _detail(event: dict[str, Any]) -> str:
    smtp = (event.get("data") or {}).get("smtp") or {}
    return f"{smtp.get('code', '')} {smtp.get('response', '')}".strip()
