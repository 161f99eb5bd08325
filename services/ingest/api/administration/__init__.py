"""Accounts, brands, tenants, API keys and mailboxes: what REST and gRPC have in common."""

from collections.abc import Awaitable, Callable

from kernel.crypto import SecretKeyring
from kernel.outbox import Outbox
from kernel.prices import PriceBook
from services.ingest.api.administration.accounts import AccountResource
from services.ingest.api.administration.api_keys import ApiKeyResource
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.brands import BrandResource
from services.ingest.api.administration.directory import DirectoryResource
from services.ingest.api.administration.mailboxes import MailboxResource, SmtpHost
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.administration.tenants import MaxThresholds, TenantResource
from services.ingest.api.brand_resolver import BrandResolver


class Administration:
    """The administrative resources. mailboxes_max: of a tenant. resume_waiting: see
    TenantResource."""

    def __init__(  # noqa: PLR0913 - the parts of administration
        self,
        directory: DirectoryResource,
        audit_log: AuditLogResource,
        *,
        outbox: Outbox,
        secrets: SecretKeyring,
        brands: BrandResolver,
        prices: PriceBook,
        mailboxes_max: int,
        resume_waiting: Callable[[str], Awaitable[None]],
        max_thresholds: MaxThresholds = MaxThresholds(),  # noqa: B008 - immutable
        smtp: SmtpHost = SmtpHost(),  # noqa: B008 - immutable
    ) -> None:
        self.directory = directory
        self.audit_log = audit_log
        self.plans = PlanChecks(prices)
        self.accounts = AccountResource(directory, brands.all, self.plans)
        self.brands = BrandResource(directory, brands.all)
        self.tenants = TenantResource(
            directory, secrets, resume_waiting, plans=self.plans, max_thresholds=max_thresholds
        )
        self.api_keys = ApiKeyResource(directory, self.tenants, brands.all, outbox=outbox)
        self.mailboxes = MailboxResource(
            directory, brands, self.plans, smtp=smtp, count_max=mailboxes_max
        )
