"""An ACME authority, and processes of events whose hosts it certifies."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.embedded.folder import free_port
from tests.support.events import Running
from tests.support.links import click_path
from tests.support.message_events import MessageEvents
from tests.support.name_server import NameServer, name_server
from tests.support.pebble import Pebble, pebble
from tests.support.polling import WITHIN_S, until
from tests.support.tls import certificate_files

TARGET = "links.own-brand.net"
TENANT = "01a21f52-e4bb-7000-95e3-2bb59aad0dca"
DOMAIN = "01a21f52-e4bb-7000-95e3-2bb59aad0dcb"
URL = "https://shop.example/a"
HERE = {"A": ["127.0.0.1"]}
BRANDS = """
[default]
name = "Own"
slug = "obm"
sandbox_domain = "obm-sandbox.net"
tracking_host = "links.own-brand.net"
"""


@dataclass
class World:
    """An authority, its name server, and the ports of two processes."""

    authority: Pebble
    names: NameServer
    folder: Path
    ports: list[int]
    challenge_port: int
    host: str
    name_server: str

    def settings(self, number: int = 0) -> dict[str, str]:
        """Of a process; only the first answers challenges at the port of the authority."""
        brands = self.folder / "brands.toml"
        brands.write_text(BRANDS)
        files = certificate_files(self.folder / "own", TARGET)
        challenges = free_port() if number else self.challenge_port
        return {
            "acme_directory": self.authority.directory,
            "acme_listen": f"127.0.0.1:{challenges}",
            "acme_ca_file": str(self.authority.ca_file),
            "tracking_tls_listen": f"127.0.0.1:{self.ports[number]}",
            "tracking_spool": str(self.folder / f"spool{number}"),
            "tls_certificate": str(files.certificate),
            "tls_key": str(files.key),
            "brands_file": str(brands),
        }

    async def certificate(self, number: int, host: str) -> dict[str, Any]:
        """That a client trusts which trusts the authority. Raises SSLError."""
        context = ssl.create_default_context(cafile=str(self.authority.issuer_file))
        port = self.ports[number]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=host
        )
        try:
            path = click_path(MessageEvents(), URL)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == b"302"
            return cast(dict[str, Any], writer.get_extra_info("peercert"))
        finally:
            writer.close()

    async def until_trusted(self, number: int, host: str = "", *, other_than: str = "") -> str:
        """The serial number of the certificate."""
        host = host or self.host

        async def find() -> str:
            try:
                found = await self.certificate(number, host)
            except OSError:  # not certified yet
                return ""
            if found["serialNumber"] == other_than:
                return ""
            assert found["subjectAltName"] == (("DNS", host),)
            return str(found["serialNumber"])

        return await until(find)


@asynccontextmanager
async def world(folder: Path, host: str, **options: Any) -> AsyncIterator[World]:  # noqa: ANN401
    """host: the database keeps those of other tests."""
    port = free_port()
    async with asyncio.timeout(WITHIN_S), name_server({host: HERE}) as (names, address):
        with pebble(folder / "ca", challenge_port=port, name_server=address, **options) as found:
            ports = [free_port(), free_port()]
            yield World(found, names, folder, ports, port, host, address)


def record(host: str, *, version: int = 1, active: bool = True) -> TrackingHost:
    return TrackingHost(
        tracking_host_id=host,
        version=version,
        host=host,
        target=TARGET,
        active=active,
        tenant_id=TENANT,
        domain_id=DOMAIN,
    )


def stored(events: Running, host: str) -> tuple[Any, ...]:
    [row] = events.rows(
        "SELECT version, failures, problem, due_at > now(), not_after, private_key, chain"
        " FROM events.certificates WHERE host = %s",
        (host,),
    )
    return row


def has_failed(events: Running, host: str) -> bool:
    return bool(
        events.rows("SELECT 1 FROM events.certificates WHERE host = %s AND failures > 0", (host,))
    )


def make_due(events: Running, host: str) -> None:
    with events.database.connect() as connection:
        connection.execute("UPDATE events.certificates SET due_at = now() WHERE host = %s", (host,))
