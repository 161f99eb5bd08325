"""Sends TLS reports to the addresses that domains name: RFC 8460 §3 and §5."""

import asyncio
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver

from kernel.dial import Dialer
from kernel.http_post import post
from kernel.resolver import text_of
from mail import tls_rpt
from mail.tls_rpt import TlsReport
from services.delivery.clients.email_api import USER_AGENT, EmailApi

TIMEOUT_S = 30.0
DNS_TIMEOUT_S = 10.0
DESTINATIONS_MAX = 5  # of a domain


class ReportFailed(Exception):
    """No address has got the report yet; the message says why."""


class TlsReportSender:
    """dialer: for addresses of strangers. api: its tenant has the domain of the reports' sender;
    without it, reports are sent over HTTPS only."""

    def __init__(
        self, resolver: dns.asyncresolver.Resolver, dialer: Dialer, *, api: EmailApi | None
    ) -> None:
        self._resolver = resolver
        self._dialer = dialer
        self._api = api

    async def send(self, report: TlsReport) -> Sequence[str]:
        """Send to all addresses of the domain; returns those that have it. Raises ReportFailed if
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
            raise ReportFailed("; ".join(failures))
        return sent

    async def close(self) -> None:
        await self._dialer.close()
        if self._api is not None:
            await self._api.close()

    async def _destinations(self, domain: str) -> list[str]:
        """Raises ReportFailed."""
        name = tls_rpt.record_name(domain)
        try:
            found = await self._resolver.resolve(name, "TXT", lifetime=DNS_TIMEOUT_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise ReportFailed(f"{name}: {error!r}") from error
        named = tls_rpt.parse_destinations(map(text_of, found))[:DESTINATIONS_MAX]
        return [one for one in named if self._api or not one.startswith("mailto:")]

    async def _send_to(self, uri: str, report: TlsReport) -> None:
        """Raises OSError, or ValueError."""
        if self._api is None or not uri.startswith("mailto:"):
            fields = {"User-Agent": USER_AGENT, "Content-Type": "application/tlsrpt+gzip"}
            await post(self._dialer, uri, report.encode(), fields=fields)
            return
        to = uri.removeprefix("mailto:")
        raw = report.message(to, date=report.end)  # repeats must not differ
        key = f"{report.identifier} {to}"
        await self._api.send(raw, to=to, tag="tls-report", idempotency_key=key)
