"""Mail to accounts about disabled webhook endpoints, and of their reports, if the operator has a
sender for it."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from kernel.addresses import AddressResolver
from kernel.database import Database
from kernel.dial import Dialer
from services.events.clients.account_mail_sender import AccountMailSender
from services.events.clients.brands import TenantBrands
from services.events.loops.reports import ReportMailer
from services.events.loops.webhook_notices import DisabledEndpointNotifier
from services.events.settings import Settings


class AccountMailComponents(NamedTuple):
    loop: DisabledEndpointNotifier
    reports: ReportMailer
    close: Callable[[], Coroutine[Any, Any, None]]


def create_account_mail(
    settings: Settings, database: Database, directory: TenantBrands
) -> AccountMailComponents | None:
    """None without a sender."""
    if not settings.notice_from:
        return None
    dialer = Dialer(AddressResolver(lambda *_: True))
    sender = AccountMailSender(
        dialer, settings.api_url, settings.api_key, sender=settings.notice_from
    )
    return AccountMailComponents(
        DisabledEndpointNotifier(database, sender, directory=directory),
        ReportMailer(database, sender, directory),
        sender.close,
    )
