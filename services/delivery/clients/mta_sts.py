"""Discovers the MTA-STS policies of domains: RFC 8461 §3."""

import asyncio
import ssl
from dataclasses import dataclass
from weakref import WeakValueDictionary

import dns.asyncresolver
import dns.exception
import dns.resolver

from kernel.downloads import Downloader, DownloadFailed
from kernel.resolver import text_of
from mail import mta_sts
from mail.mta_sts import MtaStsPolicy, PolicyError
from mail.suffix import registrable_domain
from mail.tls_rpt import ResultType

LOOKUP_TIMEOUT_S = 5.0
FETCH_TIMEOUT_S = 10.0
FETCHES_MAX = 50  # at once
OWNER_FETCHES_MAX = 2  # of domains under one registrable domain, whose hosts may all be silent
TTL_MIN_S, TTL_MAX_S = 60.0, 3600.0
ABSENT_TTL_S = 3600.0
USER_AGENT = "MTA-STS/1"


class RecordLookupFailed(Exception):
    """DNS has not answered."""


class PolicyFetchFailed(Exception):
    """The policy could not be fetched, or is invalid; the message says why. result: for TLS-RPT."""

    def __init__(self, result: ResultType, why: str) -> None:
        super().__init__(why)
        self.result = result


@dataclass(frozen=True, slots=True)
class MtaStsRecord:
    """The TXT record of a domain. policy_id: None if it announces no policy. ttl_s: how long to
    rely on it."""

    policy_id: str | None
    ttl_s: float


class MtaStsClient:
    """Looks up the records, and fetches the policies."""

    def __init__(self, resolver: dns.asyncresolver.Resolver, downloads: Downloader) -> None:
        self._resolver = resolver
        self._downloads = downloads
        self._slots = asyncio.Semaphore(FETCHES_MAX)
        self._slots_of_owner: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def look_up(self, domain: str) -> MtaStsRecord:
        """Raises RecordLookupFailed."""
        try:
            found = await self._resolver.resolve(
                mta_sts.record_name(domain), "TXT", lifetime=LOOKUP_TIMEOUT_S
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return MtaStsRecord(None, ABSENT_TTL_S)
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise RecordLookupFailed(f"{domain}: {error!r}") from error
        ttl_s = float(found.rrset.ttl) if found.rrset is not None else TTL_MIN_S
        policy_id = mta_sts.policy_id(tuple(map(text_of, found)))
        return MtaStsRecord(policy_id, min(max(ttl_s, TTL_MIN_S), TTL_MAX_S))

    def has_slot(self, domain: str) -> bool:
        """Whether a fetch would begin at once."""
        slots = self._slots_of_owner.get(registrable_domain(domain))
        return not self._slots.locked() and (slots is None or not slots.locked())

    async def fetch(self, domain: str) -> MtaStsPolicy:
        """Raises PolicyFetchFailed, but never because it has to wait for others first."""
        owner = registrable_domain(domain)
        slots = self._slots_of_owner.setdefault(owner, asyncio.Semaphore(OWNER_FETCHES_MAX))
        async with slots, self._slots:  # in this order: who waits for its owner holds up no other
            return await self._fetch(domain)

    async def _fetch(self, domain: str) -> MtaStsPolicy:
        """Raises PolicyFetchFailed. Redirects are not followed (§3.3)."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                file = await self._downloads.get(
                    mta_sts.policy_url(domain),
                    octets_max=mta_sts.MAX_POLICY,
                    user_agent=USER_AGENT,
                )
        except TimeoutError:
            why = f"no policy within {FETCH_TIMEOUT_S:g} s"
            raise PolicyFetchFailed(ResultType.STS_POLICY_FETCH_ERROR, why) from None
        except DownloadFailed as failure:
            is_pki = isinstance(failure.__cause__, ssl.SSLCertVerificationError)
            kind = ResultType.STS_WEBPKI_INVALID if is_pki else ResultType.STS_POLICY_FETCH_ERROR
            raise PolicyFetchFailed(kind, str(failure)) from failure
        if file.content_type.partition(";")[0].strip().lower() != "text/plain":
            why = f"the policy is not text/plain, but {file.content_type[:80]!r}"
            raise PolicyFetchFailed(ResultType.STS_POLICY_INVALID, why)
        try:
            return mta_sts.parse_policy(file.content)
        except PolicyError as error:
            raise PolicyFetchFailed(ResultType.STS_POLICY_INVALID, str(error)) from error

    async def close(self) -> None:
        await self._downloads.close()
