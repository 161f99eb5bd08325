"""Attachments by path: fetched before an email is accepted, so many at a time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.http import BODY_BYTES_MAX
from services.ingest.clients.downloads import Downloads, Failed
from services.ingest.domain.attachments import SINGLE_ONLY, ByPath, fetched, path_fault
from services.ingest.domain.problem import Problem, invalid
from services.ingest.domain.valid_email import ValidEmail

TENANT_SHARE = 4  # of the emails that are fetched for at a time, a tenant has one in so many


class Fetching:
    """downloads: None where nothing is fetched. at_once: emails whose files are under way."""

    def __init__(
        self,
        access: AccessControl,
        downloads: Downloads | None,
        *,
        by_path: ByPath,
        at_once: int,
        timeout_s: float,
    ) -> None:
        self._access = access
        self._downloads = downloads
        self._at_once = at_once
        self._timeout_s = timeout_s
        self._under_way: Counter[str] = Counter()
        self.by_path = by_path
        self.elsewhere = by_path if by_path.refused else replace(by_path, refused=SINGLE_ONLY)

    async def complete(self, principal: Principal, email: ValidEmail, *, sent: int) -> None:
        """Fetch what the draft wants. sent: octets of the request, which count as if the files had
        been in it, in base64. Raises Problem."""
        await self._access.domain_of(principal, email.sender.domain)
        with self._slot(principal.tenant_id):
            if self._downloads is not None:
                await self._fetch(self._downloads, email, left=(BODY_BYTES_MAX - sent) // 4 * 3)

    async def _fetch(self, downloads: Downloads, email: ValidEmail, *, left: int) -> None:
        index = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                for index, one in email.wanted.items():
                    got = await downloads.get(one.path or "", octets_max=left)
                    left -= len(got.content)
                    file = fetched(
                        one, got.content, content_type=got.content_type, disposition=got.disposition
                    )
                    email.content.attachments[index].CopyFrom(file)
        except Failed as error:
            raise invalid([path_fault(index, str(error))]) from None
        except TimeoutError:
            why = f"it had not come after {self._timeout_s:g} s"
            raise invalid([path_fault(index, why)]) from None

    @contextmanager
    def _slot(self, tenant_id: str) -> Iterator[None]:
        """Raises Problem when there is none: a request that waits keeps its body in memory."""
        share = max(1, self._at_once // TENANT_SHARE)
        if self._under_way.total() >= self._at_once or self._under_way[tenant_id] >= share:
            detail = "too many attachments are being fetched just now: try again"
            raise Problem(429, "rate_limit_exceeded", detail=detail, retry_after_s=1)
        self._under_way[tenant_id] += 1
        try:
            yield
        finally:
            self._under_way[tenant_id] -= 1
            self._under_way += Counter()  # those that have none are forgotten
