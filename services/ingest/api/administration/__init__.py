"""Accounts, brands, tenants, API keys and mailboxes: what REST and gRPC have in common."""

from collections.abc import Awaitable, Callable

from kernel.crypto import SecretKeyring
from kernel.outbox import Outbox
from kernel.prices import PriceBook
from services.ingest.api.administration.accounts import Accounts
from services.ingest.api.administration.api_keys import ApiKeys
from services.ingest.api.administration.audit_log import AuditLog
from services.ingest.api.administration.base import Directory
from services.ingest.api.administration.brands import BrandsAdministration
from services.ingest.api.administration.mailboxes import Mailboxes, SmtpHost
from services.ingest.api.administration.plans import Plans
from services.ingest.api.administration.tenants import ScoreBounds, Tenants
from services.ingest.api.brand_resolver import BrandResolver


class Administration:
    """The administrative resources. mailboxes_max: of a tenant. resume_waiting: see
    Tenants."""

    def __init__(  # noqa: PLR0913 - the parts of administration
        self,
        directory: Directory,
        audit_log: AuditLog,
        *,
        outbox: Outbox,
        secrets: SecretKeyring,
        brands: BrandResolver,
        prices: PriceBook,
        mailboxes_max: int,
        resume_waiting: Callable[[str], Awaitable[None]],
        score_bounds: ScoreBounds = ScoreBounds(),  # noqa: B008 - immutable
        smtp: SmtpHost = SmtpHost(),  # noqa: B008 - immutable
    ) -> None:
        self.directory = directory
        self.audit_log = audit_log
        self.plans = Plans(prices)
        self.accounts = Accounts(directory, brands.all, self.plans)
        self.brands = BrandsAdministration(directory, brands.all)
        self.tenants = Tenants(
            directory, secrets, resume_waiting, plans=self.plans, score_bounds=score_bounds
        )
        self.api_keys = ApiKeys(directory, self.tenants, brands.all, outbox=outbox)
        self.mailboxes = Mailboxes(
            directory, brands, self.plans, smtp=smtp, count_max=mailboxes_max
        )
