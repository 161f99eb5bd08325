"""The brand that an account names, or else the default one."""

from collections.abc import Awaitable, Callable

from contracts.ingest.v1.directory_pb2 import Account
from kernel.brand import Brand, Brands


class BrandResolver:
    """find: an account in memory; one that was created within a second may be missing. refresh:
    reads what is new before an unknown host is refused."""

    def __init__(
        self,
        brands: Brands,
        find: Callable[[str], Account | None],
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.default = brands.default
        self.refresh = refresh
        self.all = brands
        self._find = find

    def id_of(self, account_id: str) -> str:
        """Empty if the account names no brand."""
        account = self._find(account_id)
        return account.brand if account is not None else ""

    def of(self, account_id: str) -> Brand:
        return self.all.named(self.id_of(account_id))

    def smtp_host_at(self, host: str) -> str:
        """The SMTP host of the brand that has a host; empty if there is none."""
        brand = self.all.find_host(host)
        return brand.smtp_host if brand is not None else ""

    def smtp_host_of(self, account_id: str) -> str:
        """The SMTP host of the brand that the account names; empty if there is none."""
        brand_id = self.id_of(account_id)
        return self.all.named(brand_id).smtp_host if brand_id else ""
