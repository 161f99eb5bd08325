"""Fetch attachments given by path before their email is accepted, with bounded concurrency."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.http import BODY_BYTES_MAX
from services.ingest.clients.downloads import DownloadFailed, Downloads
from services.ingest.domain.attachments import SINGLE_ONLY, FetchPolicy, fetched_file, path_fault
from services.ingest.domain.problem import Problem, invalid
from services.ingest.domain.valid_email import ValidEmail

TENANT_SHARE = 4  # a tenant can use a quarter of the concurrent fetches


class AttachmentFetcher:
    """downloads: None if fetching is disabled. emails_max: limit of concurrent fetches."""

    def __init__(
        self,
        access: AccessControl,
        downloads: Downloads | None,
        *,
        fetch_policy: FetchPolicy,
        emails_max: int,
        timeout_s: float,
    ) -> None:
        self._access = access
        self._downloads = downloads
        self._emails_max = emails_max
        self._timeout_s = timeout_s
        self._in_progress: Counter[str] = Counter()
        self.fetch_policy = fetch_policy
        self.refused_policy = (
            fetch_policy if fetch_policy.refused else replace(fetch_policy, refused=SINGLE_ONLY)
        )

    async def complete(self, principal: Principal, email: ValidEmail, *, sent: int) -> None:
        """Fetch the attachments given by path. sent: size of the request in octets; the files count
        towards the request limit as if they had been sent in base64. Raises Problem."""
        await self._access.domain_of(principal, email.sender.domain)
        with self._slot(principal.tenant_id):
            if self._downloads is not None:
                await self._fetch(self._downloads, email, left=(BODY_BYTES_MAX - sent) // 4 * 3)

    async def _fetch(self, downloads: Downloads, email: ValidEmail, *, left: int) -> None:
        index = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                for index, one in email.to_fetch.items():
                    got = await downloads.get(one.path or "", octets_max=left)
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

    @contextmanager
    def _slot(self, tenant_id: str) -> Iterator[None]:
        """Raises Problem if there is no free slot; a waiting request would occupy memory with its
        body."""
        share = max(1, self._emails_max // TENANT_SHARE)
        if self._in_progress.total() >= self._emails_max or self._in_progress[tenant_id] >= share:
            detail = "Too many attachments are being fetched. Retry the request."
            raise Problem(429, "rate_limit_exceeded", detail=detail, retry_after_s=1)
        self._in_progress[tenant_id] += 1
        try:
            yield
        finally:
            self._in_progress[tenant_id] -= 1
            self._in_progress += Counter()  # drops the tenants whose count is zero
