"""Fetch attachments given by path before their email is accepted, with bounded concurrency."""

import asyncio
from dataclasses import replace

from kernel.downloads import Downloader, DownloadFailed
from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.http import BODY_BYTES_MAX
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.domain.attachments import SINGLE_ONLY, FetchPolicy, fetched_file, path_fault
from services.ingest.domain.problem import invalid
from services.ingest.domain.valid_email import ValidEmail

TENANT_SHARE = 4  # a tenant can use a quarter of the concurrent fetches


class AttachmentFetcher:
    """downloads: None if fetching is disabled. emails_max: limit of concurrent fetches."""

    def __init__(
        self,
        access: AccessControl,
        downloads: Downloader | None,
        *,
        brands: BrandResolver,
        fetch_policy: FetchPolicy,
        emails_max: int,
        timeout_s: float,
    ) -> None:
        self._access = access
        self._brands = brands
        self._downloads = downloads
        self._slots = TenantSlots(emails_max, max(1, emails_max // TENANT_SHARE))
        self._timeout_s = timeout_s
        self.fetch_policy = fetch_policy
        self.refused_policy = (
            fetch_policy if fetch_policy.refused else replace(fetch_policy, refused=SINGLE_ONLY)
        )

    async def fetch_attachments(
        self, principal: Principal, email: ValidEmail, *, sent: int
    ) -> None:
        """Fetch the attachments given by path. sent: size of the request in octets; the files count
        towards the request limit as if they had been sent in base64. Raises Problem."""
        await self._access.sending_domain_of(principal, email.sender.domain, test=email.test)
        detail = "Too many attachments are being fetched. Retry the request."
        with self._slots.slot(principal.tenant_id, detail):
            if self._downloads is not None:
                left = (BODY_BYTES_MAX - sent) // 4 * 3
                brand = self._brands.of(principal.tenant.account_id)
                user_agent = f"{brand.user_agent}-Attachments/1"
                await self._fetch(self._downloads, email, left=left, user_agent=user_agent)

    async def _fetch(
        self, downloads: Downloader, email: ValidEmail, *, left: int, user_agent: str
    ) -> None:
        index = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                for index, one in email.to_fetch.items():
                    got = await downloads.get(
                        one.path or "", octets_max=left, user_agent=user_agent
                    )
                    left -= len(got.content)
                    file = fetched_file(
                        one, got.content, content_type=got.content_type, disposition=got.disposition
                    )
                    email.content.attachments[index].CopyFrom(file)
        except DownloadFailed as error:
            raise invalid([path_fault(index, str(error))]) from None
        except TimeoutError:
            why = f"The server did not send it within {self._timeout_s:g} s."
            raise invalid([path_fault(index, why)]) from None
