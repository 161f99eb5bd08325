"""Sends TLS reports to the addresses that domains name: RFC 8460 §3 and §5."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver
import msgspec

from kernel.dial import Dialer, parse_url_target
from kernel.http_connection import HttpConnection
from kernel.resolver import text_of
from mail import tls_rpt
from mail.tls_rpt import TlsReport

TIMEOUT_S = 30.0
DNS_TIMEOUT_S = 10.0
DESTINATIONS_MAX = 5  # of a domain


class SendFailed(Exception):
    """No address has got the report yet; the message says why."""


class ReportSender:
    """dialer: for addresses of strangers; own: for the API of this installation. api_url: of the
    API, with the key of a tenant that has the domain of the reports' sender; without a key, reports
    are sent over HTTPS only."""

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver,
        dialer: Dialer,
        *,
        own: Dialer,
        api_url: str,
        api_key: str,
    ) -> None:
        self._resolver = resolver
        self._dialer = dialer
        self._own = own
        self._api_url = api_url
        self._api_key = api_key

    async def send(self, report: TlsReport) -> Sequence[str]:
        """Send to all addresses of the domain; returns those that have it. Raises SendFailed if
        there are some, and none has it."""
        sent: list[str] = []
        failures: list[str] = []
        for uri in await self._destinations(report.domain):
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._send_to(uri, report)
                sent.append(uri)
            except (OSError, ValueError, TimeoutError) as error:
                failures.append(f"{uri}: {error!r}")
        if failures and not sent:
            raise SendFailed("; ".join(failures))
        return sent

    async def close(self) -> None:
        await self._dialer.close()
        await self._own.close()

    async def _destinations(self, domain: str) -> list[str]:
        """Raises SendFailed."""
        name = tls_rpt.record_name(domain)
        try:
            found = await self._resolver.resolve(name, "TXT", lifetime=DNS_TIMEOUT_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise SendFailed(f"{name}: {error!r}") from error
        named = tls_rpt.parse_destinations(map(text_of, found))[:DESTINATIONS_MAX]
        return [one for one in named if self._api_key or not one.startswith("mailto:")]

    async def _send_to(self, uri: str, report: TlsReport) -> None:
        """Raises OSError, or ValueError."""
        if not uri.startswith("mailto:"):
            fields = {"Content-Type": "application/tlsrpt+gzip"}
            await post(self._dialer, uri, report.encode(), fields=fields)
            return
        to = uri.removeprefix("mailto:")
        raw = report.message(to, date=report.end)  # repeats must not differ
        body = {"raw": b64encode(raw).decode(), "to": to, "tags": [{"name": "tls-report"}]}
        fields = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._api_key}",
            "Idempotency-Key": f"{report.identifier} {to}"[:256],
        }
        url = f"{self._api_url}/emails"
        await post(self._own, url, msgspec.json.encode(body), fields=fields)


async def post(dialer: Dialer, url: str, body: bytes, *, fields: dict[str, str]) -> None:
    """Raises OSError, or ValueError unless the response is 2xx."""
    target = parse_url_target(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    start = f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: TLS-RPT/1\r\n"
    head = f"{start}{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection = await dialer.connect(target, HttpConnection)
    try:
        response = await connection.send(head.encode() + body)
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise ValueError(f"HTTP {response.status}")
